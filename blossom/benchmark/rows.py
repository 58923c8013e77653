"""Read and check the benchmarks' rows from the authored mini-sets, the public files or the hub, all in the hub's columns."""

import re
import unicodedata
from pathlib import Path

from blossom.common import paths
from blossom.text.language import check_pair
from blossom.text.rows import read_rows

ENDS = (".jsonl", ".tsv", ".json", ".csv", ".ndjson", ".parquet")  # of a file called like its set
TASKS = Path(__file__).parent / "tasks"
ROW_SETS = paths.read_yaml_beside(__file__)  # name of a set -> its columns, and how its public files differ


def load_task(task):
    """The settings of a task: our file over the file of lm-eval named in `shipped`, with `rows`, the set in rows.yaml."""
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    files = [TASKS / f"{task}.yaml"]
    own = load_yaml(files[0], resolve_func=False)
    if shipped := own["metadata"].get("shipped"):
        files.insert(0, Path(lm_eval.tasks.__file__).parent / shipped)
        own = load_yaml(files[0], resolve_func=False) | own
    return own | {"include": [str(file) for file in files], "rows": own["metadata"].get("rows", task)}


def read_task_rows(task, benchmarks="authored", training=False):
    """Read the rows of a task: (dicts with the set's columns and `id`, the file or hub set that was read).

    benchmarks  "authored" (data/benchmarks), "hub", or a folder of the public files; tasks that the hub lacks are authored
    training    the training rows instead, for few-shot examples; none for a task that the hub lacks
    """
    name, hub = load_task(task)["rows"], find_hub_source(task, training)
    known = ROW_SETS[name]
    if training and not hub:
        return [], ""
    if benchmarks == "hub" and hub:
        return check_task_rows(name, read_rows(hub), hub), hub
    where = "data/benchmarks" if benchmarks == "authored" or not hub else benchmarks
    folder = paths.find_path(paths.ROOT / Path(where).expanduser())
    file = _find_file(name, task, folder, known.get("train" if training else "files", []), training)
    records = read_rows(str(file), known.get("header", ()), known.get("quoted", False))
    base = paths.ROOT if folder.is_relative_to(paths.ROOT) else folder.parent
    return check_task_rows(name, records, file), str(file.relative_to(base))


def find_hub_source(task, training=False):
    """Where `benchmarks: hub` has the rows of a task: "hub:...", an address, or "" when the hub lacks them."""
    config = load_task(task)
    if not config.get("dataset_path"):
        return ""
    split = "train" if training else config.get("test_split") or config["validation_split"]
    if config["dataset_path"] == "json":
        return config["dataset_kwargs"]["data_files"][split]
    return ":".join(["hub:" + config["dataset_path"], config.get("dataset_name") or "default", split])


def _find_file(name, task, folder, patterns, training):
    """The file of a set in a folder: called like the set or a pattern; of several, the one that adds no word to it."""
    if not folder.is_dir():
        raise ValueError(f"benchmarks: expected 'authored', 'hub' or a folder, found {str(folder)!r}, which is no folder")
    patterns = patterns if training else [*(f"/{name}{end}" for end in ENDS), *patterns]
    found = paths.list_files(folder)
    files = {file: Path("/" + str(file.relative_to(folder)).lower().removesuffix(".gz")) for file in found}
    for pattern in patterns:
        found = [file for file, own in files.items() if own.match(pattern.lower())]
        exact = re.escape(Path(pattern).name.lower()).replace(r"\*", "[-_.]?")  # nothing where the pattern has a star
        found = [file for file in found if re.fullmatch(exact, files[file].name)] or found
        if len(found) > 1:
            raise ValueError(f"benchmarks: {folder}: several files could be {task}: {', '.join(f.name for f in found[:4])}")
        if found:
            return found[0]
    what = "training file (shots needs one)" if training else "file"
    looked = ", ".join(pattern.lstrip("/") for pattern in patterns) or "none: it has none"
    raise ValueError(f"benchmarks: {folder}: no {what} of {task}; looked for {looked}")


def check_task_rows(name, records, source):
    """Check (place, record) pairs in the hub's or the public files' columns: rows with the set's columns and an `id`."""
    known, rows, equal = ROW_SETS[name], [], []
    for place, record in records:
        try:
            record = _in_hub_columns(record, known)
            if "skip" in known and not str(record.get(known["skip"], "missing") or "").strip():
                continue
            row = _check_value(record, known["columns"])
            if row.keys() == {"en", "ko"} and len(rows) < 20:  # further on, public sets have rows that nobody translated
                check_pair(row["en"], row["ko"])
        except ValueError as error:
            raise ValueError(f"{place}: {name}: {error}") from None
        choices = [text for c in known.get("choices", ()) for text in ([row[c]] if isinstance(row[c], str) else row[c])]
        if len({text.strip() for text in choices}) < len(choices):
            equal.append(place)
            continue
        number = next((record[key] for key in ("guid", "ID", "id", "idx", "ind") if record.get(key) is not None), len(rows))
        rows.append({"id": str(number)} | row)
    if equal:
        print(f"{source}: {name}: rows left out for two equal choices: {len(equal)}, first {equal[0]}")
    if not rows:
        raise ValueError(f"{source}: {name}: no rows")
    return rows


def _in_hub_columns(record, known):
    if not isinstance(record, dict):
        raise ValueError(f"expected an object with columns, found {record!r:.60}")
    rename, labels = known.get("rename", {}), known.get("labels", {})
    found = {}
    for column, value in record.items():
        words = labels.get(column, {})
        if words and all(map(str.isdigit, words)) and str(value).strip() not in words:  # 0 and 1 would be other labels
            raise ValueError(f"{column}: expected {' or '.join(words)}, found {value!r}")
        value = words.get(str(value).strip().lower(), value)
        if str(earlier := found.setdefault(rename.get(column, column), value)) != str(value):
            raise ValueError(f"{column}: expected {earlier!r}, which another column of the row says, found {value!r}")
    if "activity_label" in known["columns"] and "ctx_a" not in found and isinstance(found.get("ctx"), str):
        activity, _, context = found["ctx"].partition(": ")  # HellaSwag's short form
        found |= {"activity_label": activity, "ctx_a": context, "ctx_b": ""}
    return found


def _check_value(value, kind, column=""):
    """The value as its kind in rows.yaml wants it; ValueError names the column and what was expected."""
    if isinstance(kind, dict):
        own, row = value if isinstance(value, dict) else {}, {}
        for part, inner in kind.items():
            name = f"{column}.{part}".lstrip(".")
            if own.get(part) is None and inner != "maybe":
                raise ValueError(f"{name}: no column {part}; found {', '.join(map(str, own)) or repr(value)[:60]}")
            row[part] = _check_value(own.get(part) or "" if inner == "maybe" else own[part], inner, name)
        return row
    value = unicodedata.normalize("NFC", value) if isinstance(value, str) else value
    text = value.strip() if isinstance(value, str) else ""
    if isinstance(kind, list):
        expected, found = " or ".join(kind), text if text in kind else None
    elif isinstance(kind, int):
        expected, found = f"a label from 0 to {kind - 1}", {str(n): n for n in range(kind)}.get(str(value).strip())
    elif kind.endswith(" texts"):
        texts = [t for t in value if isinstance(t, str) and t.strip()] if isinstance(value, list) else []
        expected, found = f"a list of {kind}", value if texts == value and len(texts) == int(kind.split()[0]) else None
    else:  # of a sentence lm-eval cuts the last character off
        expected, ends = ("text that ends in a full stop", (".", "!", "?")) if kind == "sentence" else ("text", "")
        found = value if (text and text.endswith(ends)) or (value == "" and kind == "maybe") else None
    if found is None:
        raise ValueError(f"{column}: expected {expected}, found {value!r:.80}")
    return found


def blank_rows(name):
    """Rows that hold their column names in braces as text, to show the form of a prompt: one for each word of a choice."""
    columns = ROW_SETS[name]["columns"]
    words = next((kind for kind in columns.values() if isinstance(kind, list)), [None])
    return [{"id": ""} | _blank_value(columns, word) for word in words]


def _blank_value(kind, word, column=""):
    if isinstance(kind, dict):
        return {part: _blank_value(own, word, f"{column}.{part}".lstrip(".")) for part, own in kind.items()}
    if not isinstance(kind, str):
        return 0 if isinstance(kind, int) else word
    if kind.endswith(" texts"):
        return [f"{{{column} {n}}}" for n in range(1, int(kind.split()[0]) + 1)]
    return f"{{{column}}}" + ("." if kind == "sentence" else "")
