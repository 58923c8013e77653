"""The benchmarks' rows: from the authored mini-sets, the public files or the hub, checked, all in the hub's columns."""

from functools import cache
from pathlib import Path

import yaml

from blossom.common import paths
from blossom.text.hub import load_hub_rows
from blossom.text.rows import read_rows, read_table

TASKS = Path(__file__).parent / "tasks"
AUTHORED = paths.ROOT / "data" / "benchmarks"


@cache
def row_sets():
    """rows.yaml: name of a set -> its columns, and how its public files differ."""
    return yaml.safe_load(Path(__file__).with_name("rows.yaml").read_text(encoding="utf-8"))


def load_task(task):
    """The settings of a task: lm-eval's own file, if ours names one in `shipped`, then ours over it.

    Two are added: `include`, these files, and `rows`, the task's set in rows.yaml.
    """
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    own = load_yaml(TASKS / f"{task}.yaml", resolve_func=False)
    files = [str(TASKS / f"{task}.yaml")]
    if shipped := own["metadata"].get("shipped"):
        files.insert(0, str(Path(lm_eval.tasks.__file__).parent / shipped))
        own = load_yaml(files[0], resolve_func=False) | own
    return own | {"include": files, "rows": own["metadata"].get("rows", task)}


def authored_file(name):
    """The authored mini-set of a set in rows.yaml."""
    return f"{row_sets()[name].get('authored', name)}.jsonl"


def _hub_source(config, training):
    """The "hub:..." source or the URL of a task's rows; "" for a task that exists in data/benchmarks alone."""
    if not config.get("dataset_path"):
        return ""
    split = "train" if training else config.get("test_split") or config["validation_split"]
    if config["dataset_path"] == "json":
        return config["dataset_kwargs"]["data_files"][split]
    return ":".join(["hub:" + config["dataset_path"], config.get("dataset_name") or "default", split])


def read_task_rows(task, benchmarks="authored", training=False):
    """The rows of a task.

    benchmarks  "authored" (the mini-sets in data/benchmarks), "hub", or a folder of the public files; tasks that no hub
                set has are authored anyway
    training    the training rows instead, for few-shot examples; none for tasks that no hub set has
    return      (rows, origin): dicts with the set's columns and `id`; the file or the hub set that was read

    Raises ValueError: a bad row, with file, line, column and what was expected; no such file or folder; no network.
    """
    config = load_task(task)
    name, hub = config["rows"], _hub_source(config, training)
    if training and not hub:
        return [], ""
    if benchmarks == "hub" and hub:
        return check_task_rows(name, _hub_rows(hub), hub), hub
    folder = AUTHORED if benchmarks == "authored" or not hub else Path(benchmarks).expanduser()
    folder = folder if folder.is_absolute() else paths.ROOT / folder
    known = row_sets()[name]
    own = [authored_file(name), f"{name}.tsv", f"{name}.json"]
    file = _find_file(task, folder, known.get("train", []) if training else own + known.get("files", []), training)
    if file.suffix in (".tsv", ".txt"):
        records = read_table(file, known.get("header", ()), known.get("quoted", False))
    else:
        records = read_rows(str(file))
    base = paths.ROOT if folder.is_relative_to(paths.ROOT) else folder.parent
    return check_task_rows(name, records, str(file)), str(file.relative_to(base))


def check_task_rows(name, records, source):
    """The rows of (place, record) pairs, with the hub's or the public files' columns, in the set's columns and with an `id`.

    Raises ValueError with the place of a bad record, or with the source when there are no rows.
    """
    known, rows = row_sets()[name], []
    for place, record in records:
        if not isinstance(record, dict):
            raise ValueError(f"{place}: {name}: expected an object with columns, found {record!r:.60}")
        record = _in_hub_columns(record, known)
        skipped = known.get("skip")
        if skipped in record and not str(record[skipped] or "").strip():
            continue
        row = {"id": str(next((record[k] for k in ("guid", "ID", "id", "idx", "ind") if k in record), len(rows)))}
        for column, kind in known["columns"].items():
            try:
                _put(row, column, _checked(_get(record, column, kind), kind))
            except ValueError as error:
                raise ValueError(f"{place}: {name}: {column}: {error}") from None
        rows.append(row)
    if not rows:
        raise ValueError(f"{source}: {name}: no rows")
    return rows


def _in_hub_columns(record, known):
    """A record with the hub's column names and label numbers; one that has them already is not changed."""
    rename, labels = known.get("rename", {}), known.get("labels", {})
    found = {}
    for column, value in record.items():
        found[rename.get(column, column)] = labels.get(column, {}).get(str(value).strip().lower(), value)
    if "activity_label" in known["columns"] and "ctx_a" not in found and isinstance(found.get("ctx"), str):
        activity, _, context = found["ctx"].partition(": ")  # HellaSwag's short form
        found |= {"activity_label": activity, "ctx_a": context, "ctx_b": ""}
    return found


def _get(record, column, kind):
    """The value of a column, whose name may lead into nested objects."""
    value = record
    for part in column.split("."):
        if not isinstance(value, dict) or value.get(part) is None:
            if kind == "maybe":
                return ""
            has = ", ".join(map(str, value)) if isinstance(value, dict) else f"{value!r:.60}"
            raise ValueError(f"no column {part}; found {has}")
        value = value[part]
    return value


def _put(row, column, value):
    *parts, last = column.split(".")
    for part in parts:
        row = row.setdefault(part, {})
    row[last] = value


def _checked(value, kind):
    """A value as its kind (see rows.yaml) wants it; ValueError says what was expected."""
    if isinstance(kind, list):
        if not isinstance(value, str) or value.strip() not in kind:
            raise ValueError(f"expected {' or '.join(kind)}, found {value!r}")
        return value.strip()
    if isinstance(kind, int):
        number = next((n for n in range(kind) if value == n or str(value).strip() == str(n)), None)  # 1, 1.0, True or "1"
        if number is None:
            raise ValueError(f"expected a label from 0 to {kind - 1}, found {value!r:.80}")
        return number
    if kind.endswith(" texts"):
        if not isinstance(value, list) or len(value) != int(kind.split()[0]):
            raise ValueError(f"expected a list of {kind}, found {value!r:.80}")
        return [_checked(text, "text") for text in value]
    if not isinstance(value, str) or not (value.strip() or kind == "maybe"):
        raise ValueError(f"expected text, found {value!r:.80}")
    return value


def blank_rows(name):
    """Rows whose texts are their columns' names, one for each word that a column may hold: rendered, they show a prompt."""
    columns = row_sets()[name]["columns"]
    rows = []
    for word in next((kind for kind in columns.values() if isinstance(kind, list)), [None]):
        rows.append(row := {"id": ""})
        for column, kind in columns.items():
            shown = f"{{{column}}}"
            if str(kind).endswith(" texts"):
                shown = [f"{{{column} {n}}}" for n in range(1, int(kind.split()[0]) + 1)]
            _put(row, column, {list: word, int: 0}.get(type(kind), shown + "." if kind == "sentence" else shown))
    return rows


def _find_file(task, folder, patterns, training):
    """The file of a task in a folder, by the first pattern that fits."""
    if not folder.is_dir():
        raise ValueError(f"benchmarks: expected 'authored', 'hub' or a folder, found {str(folder)!r}, which is no folder")
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise ValueError(f"benchmarks: {folder}: several files could be {task}: {', '.join(f.name for f in found[:4])}")
        if found:
            return found[0]
    what = "training file (shots needs one)" if training else "file"
    raise ValueError(f"benchmarks: {folder}: no {what} of {task}; looked for {', '.join(patterns) or 'none: it has none'}")


def _hub_rows(hub):
    """(place, record) of a hub set or of a JSON file at a URL."""
    from datasets import load_dataset

    try:
        is_url = hub.startswith("https://")
        rows = load_dataset("json", data_files=hub, split="train") if is_url else load_hub_rows(hub)
    except Exception as error:
        raise ValueError(
            f"benchmarks: {hub} could not be loaded ({(str(error).splitlines() or [''])[0][:200]}). "
            "Without a network, set benchmarks to 'authored' or to a folder of the public files."
        ) from None
    return ((f"{hub}, row {n}", row) for n, row in enumerate(rows, 1))
