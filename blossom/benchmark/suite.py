"""Prepare the tasks of lm-eval: their rows are read and checked before a model is loaded."""

import hashlib
import json
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

import numpy as np
import yaml

from blossom.benchmark.rows import TASKS, blank_rows, load_task, read_task_rows
from blossom.benchmark.statistics import f1_of_draws
from blossom.common import paths
from blossom.text.corpus import draw_evenly

GROUPS = paths.read_yaml_beside(__file__)  # name -> tasks
PAPER_TASKS = GROUPS["table6"]


@dataclass
class PreparedTask:
    """lm-eval's task with its checked rows in the hub's columns, and the file or hub set they come from (`origin`)."""

    task: object
    name: str
    rows: list
    origin: str
    shots: int
    seed: int  # of the examples in the prompts

    @property
    def settings(self):
        return self.task.config.metadata

    @property
    def generates(self):
        """Whether the model writes its answer instead of choosing one."""
        return self.task.OUTPUT_TYPE == "generate_until"

    @cached_property
    def labels(self):
        """The index of each row's right choice; [] where there is none."""
        found = [self.task.doc_to_target(row) for row in self.task.test_docs()]
        if isinstance(found[0], str) and not self.generates:  # lm-eval's COPA tasks give the choice itself
            rows = self.task.test_docs()
            found = [self.task.doc_to_choice(row).index(word) for row, word in zip(rows, found, strict=True)]
        return found if isinstance(found[0], int) else []

    @property
    def prompt(self):
        """[(context, [choices])] with column names in place of the rows' texts."""
        from datasets import Dataset

        blank = Dataset.from_list(blank_rows(self.settings.get("rows", self.name)))
        if self.task.config.process_docs is not None:
            with redirect_stderr(StringIO()):  # the progress bar of `Dataset.map`
                blank = self.task.config.process_docs(blank)
        joint = self.task.config.target_delimiter
        choices = [[] if self.generates else [joint + c for c in self.task.doc_to_choice(row)] for row in blank]
        shown = [(self.task.fewshot_context(row, 0), tuple(own)) for row, own in zip(blank, choices, strict=True)]
        return list(dict.fromkeys(shown))

    @property
    def prompt_hash(self):
        """Hash of the prompt, the choices and how answers end: only scores with the same hash are comparable."""
        return short_hash([self.prompt, self.task.config.generation_kwargs])

    @property
    def majority_share(self):
        """Share of the most frequent label (0 to 1), which is the accuracy of a constant answer; 0 without labels."""
        return float(np.bincount(self.labels).max() / len(self.labels)) if self.labels else 0.0

    @property
    def is_macro(self):
        """Whether the task's F1 is the mean over the labels (else that of label 1)."""
        return "f1" in self.task.aggregation() and self.task.aggregation()["f1"].__name__ == "macro_f1"

    @property
    def metric(self):
        """The score's name for `item_statistic`: "macro_f1" where `settings["score"]` is an F1 over the labels."""
        return "macro_f1" if self.settings["score"] == "f1" and self.is_macro else self.settings["score"]

    @property
    def constant(self):
        """The best score (0 to 1) of one answer to every item; None where answers are written."""
        if self.generates:
            return None
        if self.settings["score"] != "f1":
            return self.majority_share
        labels = np.array(self.labels)
        return max(float(f1_of_draws(labels, np.full_like(labels, c), self.is_macro)) for c in set(self.labels))

    @property
    def digest(self):
        """Hash of prompt, rows and examples: all that a score depends on besides the model."""
        self.task.set_fewshot_seed(seed=self.seed)  # its generator goes on from call to call
        shown = [(self.seed, self.task.fewshot_context(row, self.shots)) for row in self.task.test_docs() if self.shots]
        return short_hash([self.prompt_hash, self.settings["version"], self.settings["score"], self.rows, shown])


def task_names():
    return sorted(file.stem for file in TASKS.glob("*.yaml"))


def expand_tasks(tasks):
    """The tasks of names and groups, each once, in order; ValueError for an unknown name."""
    tasks = list(dict.fromkeys(name for task in tasks for name in GROUPS.get(task, [task])))
    for task in tasks:
        if task not in task_names():
            raise ValueError(f"tasks: no task is called {task!r}; there are {', '.join([*GROUPS, *task_names()])}")
    return tasks


def prepare_tasks(tasks, folder, benchmarks="authored", items=0, shots=0, seed=0, written_items=0):
    """Read and check the rows of every task, then write them as lm-eval reads them: list of PreparedTask.

    tasks       names of tasks or of GROUPS
    folder      gets <task>.jsonl and <task>.yaml; `lm_eval run --include_path <folder> --tasks <task>` runs them too
    benchmarks  see `read_task_rows`
    items       rows a task, `written_items` of tasks with written answers, drawn with `seed`, alike for like rows; 0: all
    shots       examples in the prompt, from the training rows that are not scored; tasks that only we have stay zero-shot
    """
    from lm_eval.tasks import TaskManager

    folder, made = Path(folder), {}
    for task in expand_tasks(tasks):
        config = load_task(task)
        rows, origin = read_task_rows(task, benchmarks)
        count = (config["output_type"] == "generate_until" and written_items) or items
        train = _leave_out(rows, *read_task_rows(task, benchmarks, training=True)) if shots else []
        made[task] = config, draw_evenly(rows, count, seed, config["rows"]), origin, train
    for task, (config, rows, _, train) in made.items():  # nothing is written before all rows are checked
        _write_task(task, folder, config["include"], rows, train, shots)
    with redirect_stderr(StringIO()):  # progress bars: these sets are read in a moment
        built = TaskManager(include_path=str(folder), include_defaults=False).load(list(made))["tasks"]
    return [PreparedTask(built[t], t, rows, file, shots * bool(train), seed) for t, (_, rows, file, train) in made.items()]


def _leave_out(scored, train, origin):
    texts = [tuple(v for k, v in row.items() if k != "id" and isinstance(v, str)) for row in (*scored, *train)]
    known = set(texts[: len(scored)])
    kept = [row for row, own in zip(train, texts[len(scored) :], strict=True) if own not in known]
    if train and not kept:
        raise ValueError(f"shots: all training rows in {origin} are also scored; set shots to 0, or give other ones")
    return kept


def _write_task(task, folder, include, rows, train, shots):
    files = {}
    for split, name, lines in (("test", f"{task}.jsonl", rows), ("train", f"{task}.train.jsonl", train)):
        if lines:
            files[split] = str(folder / name)
            paths.write_text(folder / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines))
    definition = {"include": include, "dataset_path": "json", "dataset_name": None, "validation_split": None}
    definition |= {"dataset_kwargs": {"data_files": files, "cache_dir": str(folder / ".arrow")}}
    definition |= dict.fromkeys(("training_split", "fewshot_split"), "train" if train else None)
    definition |= {"test_split": "test", "num_fewshot": shots if train else 0}
    paths.write_text(folder / f"{task}.yaml", yaml.safe_dump(definition, allow_unicode=True))


def short_hash(value):
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
