"""What a CUDA card makes of the training: `python benchmarks/gpu_check.py` writes results/gpu.md in under 10 minutes.

Tests that need a card; one training step of every mode against the CPU's float32; speed, memory and the share of the card's
peak; the same training by TRL and LLaMA-Factory; 5 minutes of the run at scale laptop. A part that fails is written down
with its error, and the next one goes on. `--device cpu --tiny` tries the script on a machine without a card.
"""

import argparse
import gc
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import common
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

ROOT = common.HERE.parent
sys.path.insert(0, str(ROOT))  # for the tests' tiny models

from blossom.assets.registry import fetch_asset  # noqa: E402
from blossom.batch.estimate import count_operations, measure_size, training_bytes  # noqa: E402
from blossom.models.adapters import adapt_model  # noqa: E402
from blossom.training import learner as learners  # noqa: E402
from tests.tiny import BASES, MODES, adapted  # noqa: E402

PEAKS = {"H100": 989.4, "H200": 989.4, "A100": 312.0, "RTX 4090": 165.2, "RTX 3090": 71.0, "L40S": 362.0, "L4": 121.0}
SEVENTH_B = LlamaConfig(
    **{
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
    },
    **{"num_key_value_heads": 3, "max_position_embeddings": 2048, "tie_word_embeddings": True},
)
ONE_AND_A_HALF_B = Qwen2Config(
    **{"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28},
    **{"num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True},
)
TINY = LlamaConfig(
    **{"vocab_size": 600, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": True},
)
NF4 = ", nf4"  # after the name of what is trained: with frozen layers in 4 bits
LIMITS = {"float32": (1e-4, 2e-3), "bfloat16": (1e-2, 0.15)}  # of the relative errors of the loss and of the gradient


def run_command(command, seconds):
    """(exit code or "still running", output) of a command that gets so many seconds, then an interrupt."""
    words = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, **words | {"stdout": output})
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            code = "still running"
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        return code, output.read()


def run_tests(asked):
    """The tests that need a card."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_learner.py"]
    began = time.perf_counter()
    code, said = run_command([*command, "tests/test_scales.py", "-k", "on_a_card or real_shapes"], min(150, asked.left()))
    told = ([line for line in said.splitlines() if line.strip()] or ["no output"])[-1]
    return [{"exit code": code, "seconds": time.perf_counter() - began, "summary": told}], ""


def compare_steps(asked):
    """Loss and gradient of every mode on the device, with segments, beside the CPU's float32 by the library's layers."""
    ids = torch.randint(10, 480, (2, 48), generator=torch.Generator().manual_seed(5))
    segments = torch.ones_like(ids)
    segments[0, 20:], segments[1, 33:] = 2, 2

    def step(base, mode, precision, place, checkpointing):
        model = adapted(base, mode.removesuffix(NF4), quantize="nf4" if mode.endswith(NF4) else "none").to(place)
        learner = learners.Learner(model, precision, checkpointing)
        loss = learner(ids.to(place), ids.to(place), segments.to(place), items=ids.numel())
        loss.backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        return loss.item(), torch.cat([grads[n].to_dense().float().flatten().cpu() for n in sorted(grads)])

    rows = []
    for base in BASES:
        for mode in (*MODES, *([f"lora{NF4}"] if importlib.util.find_spec("bitsandbytes") else [])):
            expected, gradient = step(base, mode, "float32", "cpu", True)
            for precision, (most, steepest) in LIMITS.items():
                row = {"model": base, "trained": mode, "precision": precision, "loss": None, "gradient": None, "within": ""}
                try:
                    loss, found = step(base, mode, precision, asked.device, False)
                    row["loss"] = abs(loss / expected - 1)
                    row["gradient"] = ((found - gradient).norm() / gradient.norm()).item()
                    row["within"] = "yes" if row["loss"] <= most and row["gradient"] <= steepest else "NO"
                except Exception as error:
                    row["within"] = f"NO: {type(error).__name__}: {str(error)[:100]}"
                rows.append(row)
    return rows, f"Relative errors. Allowed (loss, gradient): {LIMITS}."


def measure_peak(asked):
    """(TFLOP/s of the maker's figure or None, TFLOP/s that a large bfloat16 product reaches here)."""
    size = 512 if asked.tiny else 8192
    a, b = (torch.randn(size, size, device=asked.device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        asked.synchronize()
        times.append(time.perf_counter() - began)
    name = torch.cuda.get_device_name() if asked.device == "cuda" else "cpu"
    return next((peak for card, peak in PEAKS.items() if card in name), None), 2 * size**3 / min(times) / 1e12


def measure_speed(asked):
    """Tokens/s, memory and the share of the card's peak; a batch that does not fit is halved."""
    peak, reached = measure_peak(asked)
    shapes = {"135M": (SEVENTH_B, 16, 1024), "1.5B": (ONE_AND_A_HALF_B, 8, 2048)}
    shapes, rows = {"tiny": (TINY, 4, 64)} if asked.tiny else shapes, []
    cases = [("full", False), ("lora+embeddings", False), ("full", True)]
    for name, (config, batch, length) in shapes.items():
        for trainable, segmented in cases:
            row = {"model": name, "trained": trainable, "documents": "apart" if segmented else "", "batch": ""}
            row |= dict.fromkeys(["tokens/s", "GB", "GB planned", "TFLOP/s", "of the peak", "of a product here"])
            row["note"] = ""
            rows.append(row)
            tried = batch
            while tried:
                try:
                    row |= {"batch": f"{tried} × {length}"} | _time_steps(asked, config, trainable, tried, length, segmented)
                    row["of a product here"] = f"{row['TFLOP/s'] / reached:.0%}"
                    row["of the peak"] = f"{row['TFLOP/s'] / peak:.0%}" if peak else None
                    break
                except torch.OutOfMemoryError:
                    row["note"], tried = "a larger batch does not fit", tried // 2
                except Exception as error:
                    row["note"] = f"{type(error).__name__}: {str(error)[:120]}"
                    break
    remark = f"bfloat16, AdamW in float32, no checkpointing. A product of this machine reaches {reached:.3g} TFLOP/s"
    return rows, remark + (f", the maker's figure is {peak}." if peak else "; the maker's figure is not known here.")


def _time_steps(asked, config, trainable, batch, length, segmented, steps=6):
    gc.collect()
    if asked.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with torch.device(asked.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        ids = torch.randint(config.vocab_size, (batch, length))
    size = measure_size(config, _wishes(trainable))
    learner = learners.Learner(adapt_model(model, trainable), "bfloat16").train()
    optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], lr=1e-5, fused=True)
    segments = (torch.arange(length, device=asked.device) // (length // 4)).expand_as(ids) + 1 if segmented else None
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        learner(ids, ids, segments, items=ids.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
        asked.synchronize()
        times.append(time.perf_counter() - began)
    rate = ids.numel() / sorted(times[2:])[len(times[2:]) // 2]
    memory = torch.cuda.max_memory_allocated() if asked.device == "cuda" else 0
    planned = training_bytes(size, _wishes(trainable), batch, length) / 1e9  # what a run is refused by
    operations = count_operations(size, _wishes(trainable), length // 4 if segmented else length)
    return {"tokens/s": rate, "GB": memory / 1e9, "GB planned": planned, "TFLOP/s": rate * operations / 1e12}


def _wishes(trainable):
    targets = ("q_proj", "k_proj", "v_proj")
    rest = {"lora_rank": 16, "lora_alpha": 32, "lora_targets": targets, "activation_checkpointing": False}
    return SimpleNamespace(trainable=trainable, quantize="none", **rest)


def measure_peers(asked):
    """The same training by our loop, TRL and LLaMA-Factory: the paper's adapters and embeddings, bfloat16."""
    small = Path(fetch_asset("tiny-byte-level" if asked.tiny else "smollm2-135m-instruct"))
    lines = Path(fetch_asset("smoke-en" if asked.tiny else "prose-en")).read_text(encoding="utf-8").splitlines() * 20
    tools = {common.OURS: "run_blossom.py", "trl": "run_trl.py", "llama-factory": "run_llamafactory.py"}
    sequence, steps, rows = (64, 3, []) if asked.tiny else (1024, 10, [])
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "pretraining.jsonl"
        text.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines if line), encoding="utf-8")
        spec = {
            "text": str(text),
            "task": "pretraining",
            "trainable": "lora+embeddings",
            "sequence": sequence,
            "steps": steps,
        }
        spec |= {"targets": ["q_proj", "k_proj", "v_proj"], "warm_steps": 2, "rank": 16, "alpha": 32, "tied": True}
        spec |= {"bf16": True, "cuda": asked.device == "cuda"}
        for shape, batch in (("135M", 8), ("1.5B", 4)):
            for tool, script in tools.items():
                row = {
                    "model": shape,
                    "tool": tool,
                    "batch": f"{batch} × {sequence}",
                    "tokens/s": None,
                    "GB": None,
                    "note": "",
                }
                rows.append(row)
                try:
                    _check_peer(asked, tool, shape)
                    model = small if shape == "135M" or asked.tiny else _make_large(small, Path(folder) / "large")
                    found = common.measure(tool, script, spec | {"model": str(model), "batch": batch})
                    row |= {"tokens/s": batch * sequence / found["seconds_per_step"], "GB": found["peak_bytes"] / 1e9}
                except common.Failed as error:
                    row["note"] = str(error)
    return rows, "Each tool in a process of its own." + ("" if asked.device == "cuda" else " GB: of the process.")


def _check_peer(asked, tool, shape):
    """Raise Failed where a tool is not measured."""
    if asked.left() < (60 if shape == "135M" else 330):  # the run at scale laptop needs its 5 minutes
        raise common.Failed("left out: no time")
    if tool != common.OURS and not (common.peers.ENVIRONMENTS / tool / ".ready").exists():
        raise common.Failed(f"not installed: `python benchmarks/peers.py {tool}` first (minutes, gigabytes)")


def _make_large(small, folder):
    """A folder with random weights of the 1.5B shape and the small model's tokenizer."""
    if not folder.exists():
        with torch.device("cuda"):
            AutoModelForCausalLM.from_config(ONE_AND_A_HALF_B, dtype=torch.bfloat16).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(small / name, folder)
    return folder


def run_laptop(asked):
    """As much of the default run as fits: its stages go on with `make run` afterwards."""
    began, target = time.perf_counter(), f"outputs/{'smoke' if asked.tiny else 'laptop'}/report.html"
    command = [sys.executable, "-m", "snakemake", "-c2", "--nolock", "--rerun-incomplete", "--quiet", "rules", "--", target]
    code, said = run_command(command, min(20 if asked.tiny else 300, asked.left()))
    done = sorted((ROOT / target).parent.glob("*/*/manifest.json"))
    fresh = [f"{f.parts[-3]}/{f.parts[-2]}" for f in done if f.stat().st_mtime > time.time() - time.perf_counter() + began]
    told = ([line for line in said.splitlines() if line.strip()] or ["no output"])[-1][:200]
    row = {"exit code": code, "seconds": time.perf_counter() - began, "stages finished": ", ".join(fresh) or "none"}
    return [row | {"last line": told}], ""


PARTS = {
    "tests": ("Tests that need a card", run_tests),
    "steps": ("One training step beside the CPU's float32", compare_steps),
    "speed": ("Speed and memory of our training", measure_speed),
    "peers": ("Beside other tools", measure_peers),
    "laptop": ("The run at scale laptop, 5 minutes at most", run_laptop),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the script itself")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=9.5, help="no part begins that would end later")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no CUDA card here; `--device cpu --tiny` tries the script")
    began = time.perf_counter()
    asked.left = lambda: max(1.0, 60 * asked.minutes - (time.perf_counter() - began))
    asked.synchronize = torch.cuda.synchronize if asked.device == "cuda" else lambda: None
    warnings.simplefilter("ignore")
    parts, numbers = [], {"device": torch.cuda.get_device_name() if asked.device == "cuda" else "cpu", "tiny": asked.tiny}
    for name in asked.parts:
        heading, function = PARTS[name]
        print(f"  {heading} ...", file=sys.stderr, flush=True)
        try:
            rows, remark = function(asked)
        except Exception as error:  # written down; the next part goes on
            rows, remark = [{"failed": f"{type(error).__name__}: {str(error)[:300]}"}], ""
        numbers[name] = rows
        parts.append((heading, rows, remark))
    took = time.perf_counter() - began
    common.report(
        "gpu" if asked.device == "cuda" else "gpu-tried-on-cpu",
        f"Training on {numbers['device']}, {took:.0f} s",
        parts,
        numbers,
    )


if __name__ == "__main__":
    main()
