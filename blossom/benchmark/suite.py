"""The tasks as lm-eval tasks, and a model's scores on them with everything that makes a score comparable."""

import contextlib
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from blossom import paths
from blossom.benchmark import data
from blossom.benchmark.sources import SOURCES

FOLDER = Path(__file__).resolve().parent.parent / "tasks"
PAPER = ["klue_nli", "klue_sts", "kosbi", "klue_ynat", "kobest_boolq", "kobest_hellaswag", "kobest_sentineg", "kobest_copa"]
GROUPS = {"table6": PAPER, "paper-x": ["hellaswag_en", "copa_en", "nsmc"]}


@dataclass(frozen=True)
class Prepared:
    """A task ready to be scored: checked rows on disk and lm-eval's task on them.

    task    lm-eval task;  name  its name;  rows  the evaluated rows;  origin  the file or hub id they come from
    prompt  the template with its columns' names left in: what the model reads and its choices
    """

    task: object
    name: str
    rows: list
    origin: str
    shots: int

    @property
    def settings(self):
        return self.task.config.metadata

    @property
    def generates(self):
        """Does the model write its answer (or choose among given ones)?"""
        return self.task.OUTPUT_TYPE == "generate_until"

    @property
    def prompt(self):
        """[(context, [choices])] for rows whose texts are their columns' names."""
        import datasets

        blank = datasets.Dataset.from_list(list(SOURCES[self.name].blank))
        if self.task.config.process_docs is not None:
            with _silent():
                blank = self.task.config.process_docs(blank)
        joint = self.task.config.target_delimiter
        choices = [] if self.generates else [[joint + c for c in self.task.doc_to_choice(r)] for r in blank]
        return [(self.task.fewshot_context(r, 0), choices[n] if choices else []) for n, r in enumerate(blank)]

    @property
    def prompt_hash(self):
        """16 hex digits of the prompt, choices and metric rules: two scores with different ones are not comparable."""
        text = json.dumps([self.prompt, self.task.config.generation_kwargs], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def majority_share(self):
        """Share of the most frequent label, 0 to 1: what always giving one answer gets in accuracy."""
        return float(np.bincount([row["label"] for row in self.rows]).max() / len(self.rows))


def names():
    """The tasks that there are, in the order of their files."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def prepare(tasks, folder, benchmarks="authored", items=0, shots=0, seed=0):
    """Read and check every task's rows before a model is loaded, and write them as lm-eval reads them.

    tasks       names from `names()`, or of groups: table6, paper-x
    folder      gets <task>.jsonl and <task>.yaml; `lm_eval run --include_path <folder> --tasks <task>` runs them too
    benchmarks  "authored", "hub" or a folder, see `data.read`
    items       rows a task, drawn with `seed`; 0 takes all
    shots       examples in the prompt, drawn from the set's training file
    return      list of Prepared

    Raises ValueError: an unknown task, and everything that `data.read` refuses.
    """
    tasks = list(dict.fromkeys(name for task in tasks for name in GROUPS.get(task, [task])))
    for task in tasks:
        if task not in names():
            raise ValueError(f"tasks: no task is called {task!r}; there are {', '.join([*GROUPS, *names()])}")
    read = {
        task: (_drawn(task, benchmarks, items, seed), shots and data.read(task, benchmarks, training=True)[0])
        for task in tasks
    }
    folder = Path(folder)
    for task, ((rows, _), training) in read.items():
        for name, lines in ((task, rows), (f"{task}.train", training)):
            if lines:
                paths.write_text(folder / f"{name}.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in lines))
        paths.write_text(
            folder / f"{task}.yaml", yaml.safe_dump(_definition(task, folder, bool(training)), allow_unicode=True)
        )
    built = _build(tasks, folder, shots, seed)
    return [Prepared(built[task], task, *read[task][0], shots) for task in tasks]


def _drawn(task, benchmarks, items, seed):
    rows, origin = data.read(task, benchmarks)
    if items and items < len(rows):
        chosen = random.Random(f"{seed} {task}").sample(range(len(rows)), items)
        rows = [rows[i] for i in sorted(chosen)]
    return rows, origin


def _definition(task, folder, training):
    """The YAML of a task on our rows: lm-eval's shipped file where there is one, ours over it, the data over both."""
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    own = FOLDER / f"{task}.yaml"
    shipped = load_yaml(own, resolve_func=False)["metadata"].get("shipped")
    below = [str(Path(lm_eval.tasks.__file__).parent / shipped)] if shipped else []
    files = {"test": str(folder / f"{task}.jsonl")} | ({"train": str(folder / f"{task}.train.jsonl")} if training else {})
    return {
        "include": [*below, str(own)],
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / ".arrow")},
        "test_split": "test",
        "validation_split": None,
        "training_split": "train" if training else None,
        "fewshot_split": "train" if training else None,
    }


def _build(tasks, folder, shots, seed):
    """Name -> lm-eval task."""
    from lm_eval.tasks import TaskManager

    with _silent():
        built = TaskManager(include_path=str(folder), include_defaults=False).load(list(tasks))["tasks"]
    for task in built.values():
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=seed)
    return built


@contextlib.contextmanager
def _silent():
    """No bars of the datasets library: these sets are read in a moment."""
    import datasets

    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if bars:
            datasets.enable_progress_bars()
