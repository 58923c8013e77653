"""AI-Hub's exports: folders of zip files with JSON of several shapes inside (docs/data.md), and their pairs as TSV."""

import argparse
import json
import random
import zipfile
from pathlib import Path

from blossom.common import paths, shell

SHAPES = "SJML.text, named_entity, documents, data[].paragraphs, data[].ko and en, or a list with text"


def read_aihub_documents(path):
    """Yield the text of every document in a .json file, a .zip of them, or a folder of both; ValueError names a bad file."""
    for place, row in _read_rows(path):
        body = _first(row, ("content", "text", "paragraphs", "ko"), None) if isinstance(row, dict) else None
        if body is None:
            raise ValueError(f"{place}: expected {SHAPES}; found {_names(row)}")
        if text := "\n".join([*_texts(row.get("title", row.get("doc_title", ""))), *_texts(body)]):
            yield text


def read_aihub_pairs(path):
    """Yield (English, Korean) of every row of translation data in `path`; ValueError names a row without `en` or `ko`."""
    for place, row in _read_rows(path):
        found = [" ".join(row.get(name, "").split()) if isinstance(row, dict) else "" for name in ("en", "ko")]
        if not all(found):
            raise ValueError(f"{place}: expected text in 'en' and 'ko', found {_names(row)}")
        yield tuple(found)


def _read_rows(path):
    path = Path(path)
    found = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix.lower() in (".json", ".zip"))
    if not found:
        raise ValueError(f"{path}: holds no .json and no .zip file")
    for file in found:
        if file.suffix.lower() != ".zip":
            yield from _rows(file.read_bytes(), file)
            continue
        try:
            with zipfile.ZipFile(file) as archive:
                for name in sorted(n for n in archive.namelist() if n.endswith(".json")):
                    yield from _rows(archive.read(name), f"{file}: {name}")
        except zipfile.BadZipFile as error:
            told = f"{file}: not a whole zip file ({error}); join the downloaded parts (.part0, ...) first"
            raise ValueError(told) from None


def _rows(data, place):
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not UTF-8 ({error.reason} at byte {error.start}); convert it from CP949") from None
    except ValueError as error:
        raise ValueError(f"{place}: not valid JSON ({error})") from None
    if isinstance(content, dict) and isinstance(content.get("SJML"), dict):
        content = content["SJML"].get("text")
    elif isinstance(content, dict):
        content = _first(content, ("named_entity", "documents", "data"), content)
    if not isinstance(content, list):
        raise ValueError(f"{place}: expected {SHAPES}; found {_names(content)}")
    return ((f"{place}, row {n}", row) for n, row in enumerate(content, 1))


def _first(content, names, otherwise):
    return next((content[name] for name in names if name in content), otherwise)


def _texts(value):
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value[name] for name in ("sentence", "context") if name in value] if isinstance(value, dict) else []


def _names(value):
    return ", ".join(map(repr, list(value)[:8])) if isinstance(value, dict) and value else type(value).__name__


def write_aihub_pairs(source, target, rows=0, heldout=0, seed=0):
    """Write translation pairs, drawn by `seed`, to the TSV `target` (English TAB Korean) and `heldout` others beside it.

    rows    number of training pairs; 0: all that are not held out
    return  the files written: `target`, and the held-out <target>_test/translation.tsv, the name that `benchmarks` looks for
    """
    found = list(dict.fromkeys(read_aihub_pairs(source)))
    if len(found) < heldout + (rows or 1):
        told = f"{source}: {len(found)} different pairs"
        raise ValueError(f"{told}, fewer than rows {rows or 1} and heldout {heldout} together")
    random.Random(seed).shuffle(found)
    target = Path(target)
    parts = {target: found[heldout : heldout + rows if rows else None]}
    if heldout:
        parts[target.with_name(target.stem + "_test") / "translation.tsv"] = found[:heldout]
    for file, part in parts.items():
        paths.write_text(file, "".join(f"{english}\t{korean}\n" for english, korean in part))
    return list(parts)


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m blossom.assets.aihub", description="AI-Hub's translations as TSV.")
    parser.add_argument("source", help="folder or file of the export")
    parser.add_argument("target", help="TSV file to write")
    parser.add_argument("--rows", type=int, default=0, help="pairs to train on; 0 takes all (paper X: 200302)")
    parser.add_argument("--heldout", type=int, default=0, help="pairs for the test (paper X: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    print(*write_aihub_pairs(**vars(parser.parse_args(words))), sep="\n")


if __name__ == "__main__":
    shell.run(main)
