"""What a scale's runs will take, before model, texts and card are here: hours, memory and disk, for `snakemake -n`.

Arithmetic alone: the model's sizes, the scale's own assumptions (PlanAssumptions), and the constants below. Everything it
says is an estimate. `estimate` measures on the machine itself once a run starts; the two agree on numbers of
parameters, which tests hold against models that are really built (tests/test_scales.py).
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from blossom.assets.registry import REGISTRY
from blossom.common import params, stages

GB = 1e9
CARD_RESERVE = 2 * GB  # CUDA's context, workspaces, tiles of the output head: an assumption
HOST_RESERVE = 6 * GB  # Python and its libraries, the tables that find duplicates in 33 GB of text: an assumption
DOWNLOADED = 1.6  # bytes on disk of a text of one byte: the compressed download and the table it is read from: an assumption
SLACK = 1.25  # what a cluster is asked for, over the estimate
SMALL = {
    "mem_mb": 4000,
    "disk_mb": 4000,
    "runtime": 60,
    "gpu": 0,
}  # a job of a scale without a forecast: `laptop` takes less

# Sizes as `transformers.LlamaConfig` and the models' own config.json have them, for when the hub is not in reach.
LLAMA2_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
LLAMA2_13B = {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40}
PUBLISHED = {
    f"meta-llama/Llama-2-{size}{chat}-hf": sizes | {"vocab_size": 32000, "tie_word_embeddings": False}
    for size, sizes in (("7b", LLAMA2_7B), ("13b", LLAMA2_13B))
    for chat in ("", "-chat")
}


@dataclass(frozen=True)
class Forecast:
    """Estimates for one run. hours: of training (None where nothing is trained); bytes on each card, in the machine's
    memory, newly on disk; cards that take part."""

    hours: float | None
    card: float
    memory: float
    disk: float
    cards: int
    limit: float  # hours asked of a cluster
    sizes: str = ""  # whose sizes these are, and where they were read

    def resources(self):
        """The same as a cluster's executor asks for it: whole MB, minutes, cards."""
        return {
            "mem_mb": round(SLACK * self.memory / 1e6),
            "disk_mb": round(SLACK * self.disk / 1e6),
            "runtime": round(60 * (self.limit if self.hours is None else max(1.0, SLACK * self.hours))),
            "gpu": self.cards,
        }


LINKED = Forecast(None, 0.0, 1 * GB, 0.0, 0, 0.2)  # nothing is computed: another run's files are linked


def assumptions(scale, **overrides):
    """stages.PlanAssumptions of a scale, or None when its file names no card: then nothing is forecast."""
    found = params.build_params(stages.PlanAssumptions, params.read_params(params.scale_file(scale)) | overrides)
    return found if found.device_name else None


def launch(stage, p, assumed, words):
    """What goes before a notebook whose training several cards share: the command that trains; "" for one card.

    words  the notebook's own parameters, {name: value}, that no file has
    """
    modules = {"03_bilingual_pretraining": "blossom.training", "04_korean_lima_sft": "blossom.instructions"}
    if stage not in modules or assumed is None or assumed.devices == 1:
        return ""
    kind = "fsdp" if p.trainable == "full" else "ddp"
    command = [
        "accelerate",
        "launch",
        "--config_file",
        f"params/accelerate/{kind}.yaml",
        "--num_processes",
        str(assumed.devices),
    ]
    command += [
        "-m",
        modules[stage],
        "--params",
        f"params/scales/{p.scale}.yaml",
        "--params",
        f"params/recipes/{p.recipe}.yaml",
    ]
    for name, value in words.items():
        command += ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]
    return shlex.join(command) + " && "


def forecast(stage, p, assumed):
    """The Forecast of a run.

    stage    a key of stages.STAGES;  p  its parameters (params.effective_params);  assumed  what `assumptions` gave
    Raises ValueError when the base's sizes cannot be known here.
    """
    if stage in ("01_tokenization_analysis", "07_report"):  # no model
        return Forecast(None, 0.0, HOST_RESERVE, 0.1 * GB, 0, assumed.limit_hours)
    expanded, sizes = _expanded(p), config(p.base_model)
    rows = assumed.new_rows if expanded else 0
    numbers = parameters(sizes, rows)
    stored = 2 * numbers["all"]  # bytes, in half precision
    if stage not in ("03_bilingual_pretraining", "04_korean_lima_sft"):
        written = stored if stage == "02_vocab_merge" else 1 * GB
        return Forecast(None, stored + CARD_RESERVE, stored + HOST_RESERVE, written, 1, assumed.limit_hours, sizes.origin)
    pretraining = stage == "03_bilingual_pretraining"
    total = text_tokens(p, assumed, expanded) if pretraining else example_tokens(p, assumed, expanded)
    length = p.block_size if pretraining else p.sequence_length
    batch = p.batch_size if pretraining else p.sft_batch_size
    trained = trainable(p, sizes, rows)
    speed = assumed.devices * assumed.device_tflops * 1e12 * assumed.utilisation
    hours = total * operations(p, sizes, rows, length) / speed / 3600
    card = training_bytes(p, sizes, rows, batch * length, assumed.devices)
    checkpoints = 2 * 12 * trained  # the last and the one being written; a number and its two moments, in float32
    disk = stored + checkpoints + 4 * trained + (2 * total if pretraining else 0)  # tokens are two bytes each
    return Forecast(hours, card, 2 * stored + HOST_RESERVE, disk, assumed.devices, 0.0, sizes.origin)


def config(name):
    """A base's sizes, named as in config.json, and `origin`: its folder, the hub's cache, or PUBLISHED.

    Raises ValueError when none of them knows the base.
    """
    folder = Path(name).expanduser()
    found = folder / "config.json" if folder.is_dir() else _cached(name)
    if found and found.exists():
        return _complete(json.loads(found.read_text(encoding="utf-8")), f"{name}: sizes of its own config.json")
    if name in PUBLISHED:
        return _complete(PUBLISHED[name], f"{name}: sizes as published; the hub was not asked")
    raise ValueError(f"base_model: the sizes of {name} are not known here; fetch it, or give a folder with its config.json")


def _cached(name):
    if name in REGISTRY:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json") if name.count("/") == 1 else None
    return Path(found) if isinstance(found, str) else None


def _complete(sizes, origin):
    heads = sizes["num_attention_heads"]
    keys = sizes.get("num_key_value_heads") or heads
    width = sizes.get("head_dim") or sizes["hidden_size"] // heads
    return SimpleNamespace(**sizes | {"key_width": keys * width, "query_width": heads * width, "origin": origin})


def _tables(sizes):
    return 1 if sizes.tie_word_embeddings else 2


def parameters(sizes, rows=0):
    """Numbers of parameters of a Llama-like model with `rows` added: dict "layers", "tables", "all"."""
    d, inner = sizes.hidden_size, sizes.intermediate_size
    layer = 2 * d * sizes.query_width + 2 * d * sizes.key_width + 3 * d * inner + 2 * d
    layers, tables = sizes.num_hidden_layers * layer, _tables(sizes) * (sizes.vocab_size + rows) * d
    return {"layers": layers, "tables": tables, "all": layers + tables + d}


def trainable(p, sizes, rows):
    """How many numbers learn, as `adapt_model` chooses them; ValueError for `lora_targets` other than q, k, v."""
    if p.trainable == "full":
        return parameters(sizes, rows)["all"]
    out = {"q_proj": sizes.query_width, "k_proj": sizes.key_width, "v_proj": sizes.key_width}
    unknown = set(p.lora_targets) - set(out)
    if unknown:
        raise ValueError(f"lora_targets: a forecast knows {', '.join(out)}; found {sorted(unknown)}")
    adapters = sizes.num_hidden_layers * sum(p.lora_rank * (sizes.hidden_size + out[t]) for t in p.lora_targets)
    learnt = rows if p.trainable == "lora+new-rows" else sizes.vocab_size + rows
    return adapters + _tables(sizes) * learnt * sizes.hidden_size


def operations(p, sizes, rows, length):
    """Floating-point operations of training on one token, in sequences of `length`.

    Two for each weight forward; two for the gradient of its input; two more where the weight learns; the layers' forward
    again with activation checkpointing. Attention: every token sees half of the others. Adapters are left out (below 1 %).
    """
    layers = parameters(sizes, rows)["layers"]
    head = (sizes.vocab_size + rows) * sizes.hidden_size
    attention = 2 * length * sizes.query_width * sizes.num_hidden_layers
    again = int(p.activation_checkpointing)
    passes = 2 + again + (p.trainable == "full")
    return 2 * layers * passes + attention * (3 + again) + 2 * head * (2 if p.trainable == "lora+new-rows" else 3)


def training_bytes(p, sizes, rows, tokens, devices=1):
    """Bytes on one card: frozen weights in the working precision (the tables' frozen copies too), 16 for each number that
    learns (itself, its gradient, two moments), what the layers keep for the backward pass, and CARD_RESERVE.

    All weights are trained by several cards together (FSDP): each holds its part, and one layer whole at a time.
    """
    every, trained = parameters(sizes, rows), trainable(p, sizes, rows)
    width = 4 if p.precision == "float32" else 2
    d, n = sizes.hidden_size, sizes.num_hidden_layers
    layer = width * (6 * d + 4 * sizes.key_width + 6 * sizes.intermediate_size)
    kept = 1.3 * tokens * (2 * layer + n * width * d if p.activation_checkpointing else n * layer)
    if p.trainable == "full":
        whole = 2 * width * every["layers"] / n + 2 * width * every["tables"] if devices > 1 else 0
        return 16 * trained / devices + whole + kept + CARD_RESERVE
    copies = every["tables"] if p.trainable == "lora+embeddings" else 0
    adapters = trained - copies if copies else trained
    frozen = every["all"] if p.trainable == "lora+new-rows" else every["layers"] + d + copies
    return width * frozen + 16 * (adapters + copies) + kept + CARD_RESERVE


def text_tokens(p, assumed, expanded):
    """Tokens that stage 03 reads: training_tokens, or one epoch of both languages at korean_share."""
    if p.training_tokens:
        return p.training_tokens
    kind = "" if expanded else "base_"
    tokens = {k: GB * assumed.text_gigabytes[k] / assumed.bytes_per_token[kind + k] for k in ("korean", "english")}
    shares = {"korean": p.korean_share, "english": 1 - p.korean_share}
    return min(tokens[k] / share for k, share in shares.items() if share)


def example_tokens(p, assumed, expanded):
    """Tokens that stage 04 reads, all epochs together."""
    total = 0
    spelled = assumed.bytes_per_token
    for task in p.sft_tasks:
        count = min(assumed.sft_counts[task], p.examples or assumed.sft_counts[task])
        longer = 1 if expanded or task == "en" else spelled["korean"] / spelled["base_korean"]
        total += count * assumed.sft_tokens[task] * longer
    return p.epochs * total


def _expanded(p):
    """Has the recipe's line a vocabulary added to the base's?"""
    return any("02_vocab_merge" in recipe.stages for recipe in params.recipe_lineage(p.recipe))


def table(runs, assumed):
    """What `snakemake -n` ends with: one line a run, the sums, and every assumption.

    runs  dict (recipe, stage) -> Forecast
    """
    lines = [f"{'recipe':22} {'stage':26} {'hours':>8} {'each card':>11} {'memory':>8} {'disk':>8}"]
    for (recipe, stage), f in runs.items():
        hours = ("linked" if f is LINKED else "") if f.hours is None else f"{f.hours:,.1f}"
        card = f"{f.cards} x {f.card / GB:.0f} GB" if f.cards else ""
        lines.append(f"{recipe:22} {stage:26} {hours:>8} {card:>11} {f.memory / GB:>5.0f} GB {f.disk / GB:>5.0f} GB")
    hours, disk = sum(f.hours or 0 for f in runs.values()), sum(f.disk for f in runs.values())
    lines.append(f"{'training, one after the other':49} {hours:>8,.1f} {'':>11} {'':>8} {disk / GB:>5.0f} GB")
    text = sum(assumed.text_gigabytes.values())
    lines += [
        "",
        f"Estimates; nothing is measured. Assumed: {assumed.devices} x {assumed.device_name}, {assumed.device_memory:g} GB,",
        f"{assumed.device_tflops:g} TFLOP/s each at utilisation {assumed.utilisation:g} (in the scale's file).",
        f"{'; '.join(dict.fromkeys(f.sizes for f in runs.values() if f.sizes))}.",
        f"Beside these: {text:.1f} GB of text, {DOWNLOADED * text:.0f} GB on disk once fetched, and the base model's files.",
        "Scoring and answering are not estimated in hours; a cluster is asked for limit_hours.",
    ]
    large = [f"{recipe}/{stage}" for (recipe, stage), f in runs.items() if f.card > GB * assumed.device_memory]
    if large:
        lines.append(
            f"Over {assumed.device_memory:g} GB: {', '.join(large)}. Lower batch_size, block_size, sequence_length, "
            "take `trainable: lora+new-rows`,\nset `activation_checkpointing: true`, or raise devices."
        )
    return "\n".join(lines)


class Ledger:
    """The forecasts of the runs that Snakemake asks about. overrides: parameters above every scale's."""

    def __init__(self, **overrides):
        self.overrides, self.scales = overrides, {}  # scale -> (assumptions or None, {(recipe, stage): Forecast})

    def assumptions(self, scale):
        """`assumptions` of a scale, read once."""
        return self.scales.setdefault(scale, (assumptions(scale, **self.overrides), {}))[0]

    def resource(self, name, p, stage, linked=False):
        """One of `Forecast.resources` for a run; of SMALL where the scale's file names no card.

        p  the run's parameters; its forecast is kept for `tables`;  linked  is it another run's result under a second name?
        """
        assumed = self.assumptions(p.scale)
        if assumed is None:
            return SMALL[name]
        runs = self.scales[p.scale][1]
        if (p.recipe, stage) not in runs:
            runs[p.recipe, stage] = LINKED if linked else forecast(stage, p, assumed)
        return runs[p.recipe, stage].resources()[name]

    def tables(self):
        """`table` for every scale that was asked about; "" when none has a forecast."""
        return "\n\n".join(f"Plan of {s}\n{table(runs, assumed)}" for s, (assumed, runs) in self.scales.items() if runs)
