"""What must not be learned from: duplicates, evaluation texts, examples too long; and what to look at by eye."""

import csv
import io
import json
import zlib
from collections import defaultdict

import numpy as np

from blossom import assets
from blossom.common import paths
from blossom.instructions import readers
from blossom.instructions.templates import encode
from blossom.text import corpus

RUN = {"ko": 16, "en": 48}  # letters in a row that two texts share only by copying (16 syllables are 48 bytes too)
PERMUTATIONS, BANDS = 64, 16  # MinHash: pairs of similarity 0.8 meet in some band with probability 0.9998
SHINGLE = 5  # characters


def clean(examples, evaluation, template, tokenizer, sequence_length, near=0.8):
    """Examples fit to train on, and why the others are not.

    evaluation       dict name -> list of texts that models are scored with (see `evaluation_texts`)
    sequence_length  most tokens of an example; a longer one is left out whole: cut short it would teach not to stop
    near             Jaccard similarity of 5-character shingles from which an example is a near duplicate
    return           (kept, removed): removed is a list of (reason, example, what it clashes with); reasons are
                     "exact duplicate", "near duplicate", "in the evaluation", "too long". The first of several stays.
    """
    kept, removed, first = [], [], {}
    for example in examples:
        key = _folded(example.prompt + "\n" + example.output)
        if key in first:
            removed.append(("exact duplicate", example, first[key].id))
        else:
            first[key] = example
            kept.append(example)
    twins = near_duplicates([_folded(_telling(e)) for e in kept], near)
    removed += [("near duplicate", kept[n], kept[twin].id) for n, twin in twins.items()]
    kept = [e for n, e in enumerate(kept) if n not in twins]

    leaks = overlaps(kept, evaluation)
    removed += [("in the evaluation", kept[n], name) for n, name in leaks.items()]
    kept = [e for n, e in enumerate(kept) if n not in leaks]

    size = [len(encode(template, e.messages, tokenizer)[0]) for e in kept]
    removed += [("too long", e, f"{n} tokens") for e, n in zip(kept, size, strict=True) if n > sequence_length]
    return [e for e, n in zip(kept, size, strict=True) if n <= sequence_length], removed


def table(examples, kept, removed, template, tokenizer, sequence_length):
    """Rows of the table that is read before training: what was found, a column a task.

    return  dict task -> dict of counts: examples, each reason of removal, kept, turns, fields by language, and how many
            tokens an example has (median, 95th percentile, longest; before removal) beside the most that are allowed
    """
    result = {}
    for task in dict.fromkeys(e.task for e in examples):
        own = [e for e in examples if e.task == task]
        row = {"examples": len(own)}
        for reason in ("exact duplicate", "near duplicate", "in the evaluation", "too long"):
            row[reason] = sum(r == reason and e.task == task for r, e, _ in removed)
        row["kept"] = sum(e.task == task for e in kept)
        row["of several turns"] = sum(len(e.messages) > 2 for e in own)
        for name, text in (("instruction", lambda e: e.prompt), ("output", lambda e: e.output)):
            for language in ("ko", "en", "other"):
                row[f"{name} in {language}"] = sum(language_of(text(e)) == language for e in own)
        size = [len(encode(template, e.messages, tokenizer)[0]) for e in own]
        points = {"median": 50, "95 %": 95, "longest": 100}
        row |= {f"tokens, {name}": int(np.percentile(size, point)) for name, point in points.items()}
        result[task] = row | {"tokens allowed": sequence_length}
    return result


def language_of(text):
    """Korean when a quarter of the letters are Hangul (Korean text keeps Latin names), English when four fifths are ASCII.

    return  "ko", "en" or "other"
    """
    letters = [c for c in text if c.isalpha()]
    if corpus.hangul_share(text) >= 1 / 4:
        return "ko"
    return "en" if letters and sum(c.isascii() for c in letters) / len(letters) >= 0.8 else "other"


def near_duplicates(texts, near):
    """Which texts are nearly an earlier one: dict index -> index of that earlier one.

    near  Jaccard similarity of the sets of 5-character shingles, 0 to 1
    Candidates come from MinHash bands (Broder 1997), so that a hundred thousand texts take minutes; each is then checked
    exactly.
    """
    rng = np.random.default_rng(0)
    factor, shift = (rng.integers(1, 1 << 31, (PERMUTATIONS, 1), dtype=np.uint64) for _ in range(2))
    buckets, found = defaultdict(list), {}
    for n, text in enumerate(texts):
        hashes = np.array([zlib.crc32(s.encode()) for s in _shingles(text)], dtype=np.uint64)  # (S,)
        signature = ((factor * hashes + shift) % np.uint64(4294967311)).min(axis=1)  # (PERMUTATIONS,)
        keys = [(band, part.tobytes()) for band, part in enumerate(np.split(signature, BANDS))]
        for other in sorted({o for key in keys for o in buckets[key]}):
            a, b = _shingles(text), _shingles(texts[other])
            if len(a & b) >= near * len(a | b):
                found[n] = other
                break
        else:
            for key in keys:
                buckets[key].append(n)
    return found


def _shingles(text):
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def overlaps(examples, evaluation):
    """Examples that hold evaluation text: dict index -> name of the evaluation.

    An example clashes when it shares a run of 48 letters (16 syllables in Korean) with an evaluation text,
    or when its prompt is a whole, shorter one.
    """
    runs, whole = {"ko": {}, "en": {}}, {}
    for name, texts in evaluation.items():
        for text in texts:
            letters, language = _letters(text), _script(text)
            width = RUN[language]
            if len(letters) < width:
                whole.setdefault(letters, name)
            for i in range(len(letters) - width + 1):
                runs[language].setdefault(letters[i : i + width], name)
    found = {}
    for n, example in enumerate(examples):
        asked, told = _letters(example.prompt), _letters(example.output)
        name = whole.get(asked) or _copied(asked, runs) or _copied(told, runs)
        if name:
            found[n] = name
    return found


def _copied(letters, runs):
    """The evaluation that some run of `letters` is copied from; None when there is none."""
    for language, width in RUN.items():
        for i in range(len(letters) - width + 1):
            if name := runs[language].get(letters[i : i + width]):
                return name
    return None


def evaluation_texts(sources):
    """The texts models are scored with: dict file name -> list of str.

    sources  asset names, "hub:..." as for `read`, files (.json, .jsonl, .tsv, .txt) or folders; every string in them of
             ten letters or more counts
    Raises ValueError or RuntimeError when a source is not there.
    """
    found = {}
    for source in sources:
        if source.startswith("hub:"):
            found[source] = [t for _, row in readers.rows(source) for t in _strings(row)]
            continue
        path = assets.fetch(source)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".json", ".jsonl", ".tsv", ".txt"):
                found[str(file.relative_to(path if path.is_dir() else path.parent))] = list(_file_strings(file))
    return {name: [t for t in texts if len(_letters(t)) >= 10] for name, texts in found.items()}


def _file_strings(file):
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        yield from _strings(paths.read_json(file))
    elif file.suffix == ".jsonl":
        for line in filter(str.strip, text.splitlines()):
            yield from _strings(json.loads(line))
    else:
        for row in csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE):
            yield from row


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _telling(example):
    """The text that tells two examples apart: without instructions that many rows share, when there is an input."""
    return "\n".join(m.get("input") or m["content"] for m in example.messages)


def _folded(text):
    return " ".join(text.casefold().split())


def _letters(text):
    return "".join(c for c in text.casefold() if c.isalnum())


def _script(text):
    return "ko" if corpus.hangul_share(text) >= 1 / 4 else "en"
