"""The tasks as lm-eval tasks, and a model's scores on them with everything that makes a score comparable."""

import contextlib
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from blossom.benchmark import data, josa
from blossom.benchmark.data import SOURCES
from blossom.common import paths

FOLDER = Path(__file__).parent / "tasks"
PAPER_TASKS = ["klue_nli", "klue_sts", "kosbi", "klue_ynat"]
PAPER_TASKS += ["kobest_boolq", "kobest_hellaswag", "kobest_sentineg", "kobest_copa"]
GROUPS = {
    "table6": PAPER_TASKS,
    "paper-x": ["hellaswag_en", "copa_en", "nsmc"],
    "translation": ["ko_en", "en_ko", "ko_en_korean_instruction", "en_ko_korean_instruction"],
    "consistency": ["consistency_ko", "consistency_en"],
    "answers": ["answers_ko", "answers_en"],
}


@dataclass(frozen=True)
class PreparedTask:
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
        """The task file's own `metadata`: dict."""
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
        """Share of the most frequent label, 0 to 1: what always giving one answer gets in accuracy; 0 without labels."""
        labels = [row["label"] for row in self.rows if "label" in row]
        return float(np.bincount(labels).max() / len(labels)) if labels else 0.0

    @property
    def is_macro(self):
        """Is this task's F1 averaged over the labels (or that of label 1)?"""
        return "f1" in self.task.aggregation() and self.task.aggregation()["f1"].__name__ == "macro_f1"

    @property
    def digest(self):
        """16 hex digits of the prompt, the rows and the examples in the prompt: with a model's, what a score depends on."""
        shown = [self.task.fewshot_context(row, self.shots) for row in self.task.test_docs()] if self.shots else []
        known = [self.settings["version"], self.settings["score"]]  # lm-eval adds the file's place, which says nothing
        text = json.dumps([self.prompt_hash, known, self.rows, shown], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def task_names():
    """The tasks that there are, in the order of their files."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def expand_tasks(tasks):
    """The tasks of names and groups, each once, in order; ValueError for one that there is not."""
    tasks = list(dict.fromkeys(name for task in tasks for name in GROUPS.get(task, [task])))
    for task in tasks:
        if task not in task_names():
            raise ValueError(f"tasks: no task is called {task!r}; there are {', '.join([*GROUPS, *task_names()])}")
    return tasks


def prepare_tasks(tasks, folder, benchmarks="authored", items=0, shots=0, seed=0, written_items=0, corpus=None):
    """Read and check every task's rows before a model is loaded, and write them as lm-eval reads them.

    tasks       names from `task_names()`, or of groups: table6, paper-x, translation, consistency, answers
    folder      gets <task>.jsonl and <task>.yaml; `lm_eval run --include_path <folder> --tasks <task>` runs them too
    benchmarks  "authored", "hub" or a folder, see `read_task_rows`
    items       rows a task, drawn with `seed`; 0 takes all
    shots       examples in the prompt, drawn from the set's training file; tasks that exist nowhere else stay zero-shot
    written_items  rows a task whose answers are written; 0 takes `items`
    corpus      corpus.Corpus whose held-out Korean task `josa` is made from
    return      list of PreparedTask

    Raises ValueError: an unknown task, `josa` without a corpus, and everything that `read_task_rows` refuses.
    """
    tasks, read = expand_tasks(tasks), {}
    for task in tasks:
        rows, origin = _rows(task, benchmarks, corpus, seed)
        count = (_is_written(task) and written_items) or items
        examples = data.read_task_rows(task, benchmarks, training=True)[0] if shots and SOURCES[task].hub else []
        read[task] = (_drawn(rows, task, count, seed), origin), examples
    folder = Path(folder)
    for task, ((rows, _), training) in read.items():
        for name, lines in ((task, rows), (f"{task}.train", training)):
            if lines:
                paths.write_text(folder / f"{name}.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in lines))
        paths.write_text(
            folder / f"{task}.yaml", yaml.safe_dump(_definition(task, folder, bool(training)), allow_unicode=True)
        )
    built = _build(read, folder, shots, seed)
    return [PreparedTask(built[task], task, *read[task][0], shots if read[task][1] else 0) for task in tasks]


def _rows(task, benchmarks, corpus, seed):
    """(all rows of a task, where they come from)."""
    if task != "josa":
        return data.read_task_rows(task, benchmarks)
    if corpus is None:
        raise ValueError("tasks: josa is made from a run's held-out Korean: give prepare_tasks() the corpus")
    records = josa.make_josa_pairs(corpus, seed)
    return data.check_rows(task, ((r["id"], r) for r in records), "josa"), "the run's held-out Korean"


def _is_written(task):
    return "\noutput_type: generate_until" in (FOLDER / f"{task}.yaml").read_text(encoding="utf-8")


def _drawn(rows, task, items, seed):
    """`items` of the rows in their order, drawn with `seed`; 0 takes all."""
    if not items or items >= len(rows):
        return rows
    same = (SOURCES[task].files or (task,))[0]  # tasks on the same rows, such as both languages', draw the same items
    chosen = random.Random(f"{seed} {same}").sample(range(len(rows)), items)
    return [rows[i] for i in sorted(chosen)]


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


def _build(read, folder, shots, seed):
    """Name -> lm-eval task; a task without training rows is zero-shot."""
    from lm_eval.tasks import TaskManager

    with _silent():
        built = TaskManager(include_path=str(folder), include_defaults=False).load(list(read))["tasks"]
    for name, task in built.items():
        task.set_config(key="num_fewshot", value=shots if read[name][1] else 0)
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
