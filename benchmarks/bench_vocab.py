"""Vocabulary merging beside the peers: `python benchmarks/bench_vocab.py` prints three tables.

1. the merge of a SentencePiece base with a donor: seconds, unreachable pieces, lines spelled differently by the
   merged tokenizer's two implementations; beside Chinese-LLaMA-Alpaca's recipe
2. encoding throughput of the merged tokenizer, beside SentencePiece
3. bits per byte at step 0 of the laptop run's merged model with different starting rows, beside mergekit and deepfocus

The real Llama and KoBERT files are read when BLOSSOM_ASSETS (or the hub) has them; else Mistral's tokenizer and a
donor trained on the aligned texts stand in, and the table says so.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import common
from common import OURS, Failed, measure, median

from blossom.assets.registry import fetch_asset
from blossom.common import params
from blossom.common.runs import require_model
from blossom.common.stages import TRAINED
from blossom.text.corpus import draw_bytes, read_corpus, read_documents

RECIPE = "chinese-llama-alpaca"
MERGES = {  # shown name -> peer, script, settings
    "ours, all scripts": (OURS, "run_merge.py", {"scripts": [], "unreachable": "add"}),
    "ours, Hangul only": (OURS, "run_merge.py", {"scripts": ["Hangul"], "unreachable": "add"}),
    "Chinese-LLaMA-Alpaca's recipe": (RECIPE, "run_recipe.py", {}),
}
WAYS = {
    "ours": "ours: encode_lines",
    "hf": "HF tokenizers, one batch",
    "loop": "SentencePiece, Python loop",
    "batch": "SentencePiece, its own threads",
}
ROWS = {
    **{f"ours: {method}": (OURS, "run_rows.py", method) for method in ("random", "mean", "subword", "calibrated")},
    **{f"mergekit-tokensurgeon 0.1.5: {m}": ("mergekit", "run_tokensurgeon.py", m) for m in ("subword", "mean")},
    "deepfocus 1.0.1: FOCUS": ("deepfocus", "run_focus.py", "focus"),
}


def files(folder):
    """(base, donor, what they are): SentencePiece `.model` files to merge."""
    try:
        return str(fetch_asset("llama2-tokenizer")), str(fetch_asset("kobert")), "Llama-2 (32,000) + KoBERT (8,002)"
    except RuntimeError:
        import sentencepiece

        lines = list(read_documents("aligned-ko"))
        with open(folder / "donor.model", "wb") as stream:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_writer=stream, vocab_size=8000, model_type="unigram", minloglevel=2
            )
        return (
            str(fetch_asset("mistral-v1")),
            str(folder / "donor.model"),
            "Mistral-v1 (32,000) + 8,000 trained (stand-ins)",
        )


def all_lines():
    """Every line of text that is at hand: all of BLOSSOM_ASSETS when it is set, else the corpus and the general texts."""
    root = os.environ.get("BLOSSOM_ASSETS")
    if not root:
        return [
            line for source in ("aligned-ko", "aligned-en", "general-ko", "general-en") for line in read_documents(source)
        ]
    found = []
    for file in sorted(Path(root).rglob("*")):
        if file.suffix in (".txt", ".tsv"):
            found += file.read_text(encoding="utf-8").splitlines()
        elif file.suffix == ".jsonl":
            found += [text for line in file.read_text(encoding="utf-8").splitlines() for text in _strings(json.loads(line))]
        elif file.suffix == ".json" and "tokenizers" not in file.parts:
            found += _strings(json.loads(file.read_text(encoding="utf-8")))
    return [line for line in found if line.strip()]


def _strings(value):
    """All text in a JSON value, line by line."""
    if isinstance(value, str):
        return value.splitlines()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [line for part in parts for line in _strings(part)]


def attempt(label, *call):
    print(f"  {label} ...", file=sys.stderr, flush=True)
    try:
        return measure(*call)
    except Failed as error:
        return str(error)


def bench_merge(folder, arguments):
    base, donor, what = files(folder)
    lines = folder / "lines.json"
    lines.write_text(json.dumps(all_lines()), encoding="utf-8")
    found = {name: [] for name in MERGES}
    for _ in range(arguments.repeats):
        for name, (peer, script, settings) in MERGES.items():
            asked = {"base": base, "donor": donor, "out": str(folder / name.replace(" ", "-")), **settings}
            found[name].append(attempt(f"merge: {name}", peer, script, asked, arguments.prefix))
    rows = []
    for name, runs in found.items():
        row = {"merge": name}
        if isinstance(runs[0], str):
            rows.append(row | {"note": runs[0]})
            continue
        seconds = {part: median([run[part] for run in runs]) for part in ("import", "merge", "fast")}
        row |= {"merge, s": seconds["merge"], "with fast tokenizer saved, s": seconds["merge"] + seconds["fast"]}
        row |= {"whole process, s": sum(seconds.values()), "pieces": runs[0]["pieces"]}
        asked = {"base": base, "out": str(folder / name.replace(" ", "-")), "lines": str(lines)}
        parity = attempt(f"parity: {name}", OURS, "run_parity.py", asked, arguments.prefix)
        rows.append(row | (parity if isinstance(parity, dict) else {"note": parity}))
    return what, rows, found


def bench_encode(folder, arguments):
    lines = json.loads((folder / "lines.json").read_text(encoding="utf-8"))
    step = max(1, sum(len(line.encode()) for line in lines) // arguments.encode_bytes)
    some = lines[::step]
    (folder / "some.json").write_text(json.dumps(some), encoding="utf-8")
    asked = {"out": str(folder / "ours,-all-scripts"), "lines": str(folder / "some.json")}
    found = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way, name in WAYS.items():
            found[way].append(attempt(f"encode: {name}", OURS, "run_encode.py", asked | {"way": way}, arguments.prefix))
    rows = [{"encoding": WAYS[way], **_speed(runs, found["loop"])} for way, runs in found.items()]
    return f"{len(some):,} lines, {sum(len(line.encode()) for line in some) / 1e6:.1f} MB", rows, found


def _speed(runs, loop):
    """The medians of one way to encode, and how often it is as fast as SentencePiece's loop in the same round."""
    if isinstance(runs[0], str):
        return {"note": runs[0]}
    speed = {unit: median([run[unit] for run in runs]) for unit in ("MB/s", "MB per core second")}
    times = median([run["MB/s"] / other["MB/s"] for run, other in zip(runs, loop, strict=True)])
    note = "" if runs[0]["engine"] is not False else "gigatoken is not installed or refuses: HF's batch"
    return speed | {"times the loop": times, "note": note}


def bench_rows(folder, arguments):
    p = params.effective_params("02_vocab_merge", "laptop", "blossom-bi")
    model = arguments.model or require_model(params.effective_params(TRAINED, "laptop", "blossom-bi"), TRAINED)
    base = arguments.base or fetch_asset(p.base_model)
    text = read_corpus(p)
    (folder / "korean.json").write_text(json.dumps(list(text.korean)), encoding="utf-8")
    (folder / "korean.jsonl").write_text(
        "".join(json.dumps({"text": line}) + "\n" for line in text.korean), encoding="utf-8"
    )
    few = {name: draw_bytes(lines, arguments.bits_bytes) for name, lines in text.heldout().items()}
    (folder / "heldout.json").write_text(json.dumps(few), encoding="utf-8")
    asked = {"base": str(base), "merged": str(Path(model).resolve()), "calibration_lines": p.calibration_lines}
    asked |= {
        "text": str(folder / "korean.json"),
        "jsonl": str(folder / "korean.jsonl"),
        "texts": str(folder / "heldout.json"),
    }
    made, tables = {}, {}
    for number, (name, (peer, script, method)) in enumerate(ROWS.items()):
        table = folder / f"rows-{number}.safetensors"
        made[name] = attempt(f"rows: {name}", peer, script, asked | {"method": method, "rows": str(table)}, arguments.prefix)
        if isinstance(made[name], dict):
            tables[name] = str(table)
    bits = attempt("bits per byte", OURS, "run_bits.py", asked | {"tables": tables}, arguments.prefix)
    if isinstance(bits, str):
        raise SystemExit(f"bits per byte could not be measured: {bits}")
    rows = [{"rows": "base, its own vocabulary", **bits["base"]}]
    for name in ROWS:
        if name in tables:
            rows.append({"rows": name, **bits[name], "seconds": made[name]["seconds"]})
        else:
            rows.append({"rows": name, "note": made[name]})
    return rows, {"made": made, "bits": bits}


def filled(rows):
    """Rows with the same columns, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="times each merge and each way to encode is measured")
    parser.add_argument("--encode-bytes", type=int, default=12_000_000, help="about so much text is encoded")
    parser.add_argument("--bits-bytes", type=int, default=8_000, help="bits per byte are measured on so much of each text")
    parser.add_argument("--parts", nargs="+", default=["merge", "encode", "rows"], choices=["merge", "encode", "rows"])
    parser.add_argument("--model", help="folder with the merged vocabulary; default: the laptop run's")
    parser.add_argument("--base", help="the model it was made from; default: the laptop scale's")
    parser.add_argument("--prefix", default="", help='words before each measured command, e.g. "taskset -c 0,1"')
    arguments = parser.parse_args()
    parts, result = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"merge", "encode"} & set(arguments.parts):
            what, rows, result["merge"] = bench_merge(folder, arguments)
            parts.append((f"Merge: {what}", filled(rows), ""))
        if "encode" in arguments.parts:
            size, rows, result["encode"] = bench_encode(folder, arguments)
            parts.append((f"Encoding with the merged vocabulary: {size}", filled(rows), ""))
        if "rows" in arguments.parts:
            rows, result["rows"] = bench_rows(folder, arguments)
            parts.append(
                (
                    f"Starting rows: bits per byte at step 0, {arguments.bits_bytes:,} bytes of each held-out text",
                    filled(rows),
                    "",
                )
            )
    common.report("vocab", "Vocabulary merging beside the peers", parts, result)


if __name__ == "__main__":
    main()
