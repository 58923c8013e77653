"""What a batch run shows: a line for each stage that runs, from Snakemake's events and the stages' logs."""

import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from blossom.batch.plan import RunName
from blossom.common import paths, shell

PAUSE = 60.0  # seconds between lines about a running stage, where they cannot be rewritten in place
STEPS = re.compile(rb"(?:step |\| )(\d+)/(\d+)")  # of a training or a progress bar


@dataclass
class RunningJob:
    """A job that runs: the start of its line, its log (None: it has none), when it began, and steps: (time, done, all)."""

    name: str
    log: Path | None
    began: float = field(default_factory=lambda: time.monotonic())
    first: tuple = (0.0, 0, 0)
    last: tuple = (0.0, 0, 0)
    skipped: int = 0  # bytes of the log that an earlier, failed run wrote

    def describe(self):
        """The job's line: steps done of how many and the time left; where no steps are left, the time since it began."""
        now = time.monotonic()
        if found := STEPS.findall(self._read_end()) if self.log and self.log.exists() else []:
            done, total = map(int, found[-1])
            if total != self.last[2] or done < self.last[1]:
                self.first = (now, done, total)
            if (done, total) != self.last[1:]:
                self.last = (now, done, total)
            said = f"{self.name}  {done:,}/{total:,}"
            if done == self.first[1] < total:
                return said
            if done < total:
                left = (total - done) * (self.last[0] - self.first[0]) / (done - self.first[1]) - (now - self.last[0])
                return f"{said}, about {describe_seconds(max(left, 1))} left"
        return f"{self.name}  {describe_seconds(now - self.began)}"

    def _read_end(self):
        with open(self.log, "rb") as log:
            log.seek(max(self.skipped, self.log.stat().st_size - 4096))
            return log.read()


class Terminal(logging.Handler):
    """A handler of Snakemake's log records. Unless `quiet`, Snakemake tells the rest itself, and only failures are shown."""

    def __init__(self, outputs, quiet):
        super().__init__()
        self.outputs, self.quiet, self.jobs, self.started, self.total, self.said = outputs, quiet, {}, 0, 0, 0.0
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = Live(get_renderable=self.render, console=self.console, refresh_per_second=1, transient=True)

    def say(self, line):
        self.console.print(Text(shell.show_plain(line)))

    def render(self):
        """The lines of the jobs that run now."""
        lines = [job.describe() for job in list(self.jobs.values())]
        if not self.console.is_terminal and time.monotonic() > self.said + PAUSE:
            self.said = time.monotonic()
            for line in lines:
                self.say(line)
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def emit(self, record):
        event, number = getattr(record, "event", None), getattr(record, "jobid", getattr(record, "job_id", None))
        if event == "run_info":
            self.total = record.stats["total"]
        elif event == "job_info":
            self.jobs[number] = job = self.make_job(record.rule_name, record.wildcards)
            self.said = time.monotonic()
            if self.quiet:
                self.live.start()
                if not self.console.is_terminal:
                    self.say(job.name)
        elif event == "job_error" and number in self.jobs:
            job = self.jobs.pop(number)
            self.say(f"{job.name}  failed")
            if job.log and job.log.exists():
                last = job.log.read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
                self.say(f"  {last}\n  Details: {job.log}")
        elif event == "job_finished" and number in self.jobs:
            job = self.jobs.pop(number)
            if self.quiet:
                self.say(f"{job.name}  done in {describe_seconds(time.monotonic() - job.began)}")
        elif self.quiet and not self.started and (record.levelno >= logging.ERROR or "Nothing to be" in record.getMessage()):
            self.say(record.getMessage())  # of a failure before the first job

    def make_job(self, rule, wildcards):
        self.started += 1
        if "stage" not in wildcards:
            return RunningJob(f"[{self.started}/{self.total}] {rule}", None)
        log = paths.unfinished_folder(paths.stage_folder(*(wildcards[k] for k in RunName._fields))) / "log.txt"
        point = [Path(wildcards["root"]).name] if wildcards["root"] != self.outputs else []
        words = [*point, wildcards["recipe"], wildcards["stage"].replace("_", " ")]
        skipped = log.stat().st_size if log.exists() else 0
        return RunningJob(f"[{self.started}/{self.total}] {' · '.join(words)}", log, skipped=skipped)


def describe_seconds(seconds):
    """A duration in words, to about one part in ten: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
