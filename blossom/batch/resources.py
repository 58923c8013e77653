"""What Snakemake plans with: hours, memory, disk and cards of every run, before model, texts and card are here.

Scales that name a card (PlanAssumptions) get estimates from the model's shape. A cluster is asked for them, and
`snakemake -n` prints them as a table.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import yaml

from blossom.common import params, paths, stages

GB = 1e9
HOST_RESERVE = 6 * GB  # Python and its libraries, the tables that find duplicates in 33 GB of text: an assumption
DOWNLOADED = 1.6  # bytes on disk for a byte of text (JSON lines of hub sets, AI-Hub's zip files): an assumption
SLACK = 1.25  # a cluster is asked for the estimate times this
SMALL = {"mem_mb": 4000, "disk_mb": 4000, "runtime": 60, "gpu": 0}  # a job at a scale without a card; `laptop` takes less

TOLD = paths.read_yaml_beside(__file__)
PUBLISHED = TOLD["bases"]  # base model -> what its config.json says


@dataclass(frozen=True)
class PlannedRun:
    """Estimates for one run; sizes in bytes."""

    memory: float
    disk: float = 0.0  # written by the run
    card: float = 0.0  # memory of each card
    cards: int = 0
    hours: float | None = None  # of training; None without
    limit: float = 0.0  # hours to ask for when there is no training
    origin: str = ""  # the base model, and where its sizes were read

    def resources(self):
        """What a cluster is asked for: MB, minutes and cards, as whole numbers."""
        hours = self.limit if self.hours is None else max(1.0, SLACK * self.hours)
        memory, disk = (round(SLACK * size / 1e6) for size in (self.memory, self.disk))
        return {"mem_mb": memory, "disk_mb": disk, "runtime": round(60 * hours), "gpu": self.cards}


LINKED = PlannedRun(1 * GB, limit=0.2)  # for a run that only links to another run's files


def read_assumptions(scale, **overrides):
    """The PlanAssumptions of a scale, or None when the scale names no card; ParameterError for several without a name."""
    found = params.build_params(stages.PlanAssumptions, params.read_scale(scale) | overrides)
    if found.devices > 1:
        _assume(found, "device_name")
    return found if found.device_name else None


def _assume(assumed, name, *key):
    """A value of PlanAssumptions, or of one of its dicts; ParameterError where the scale has none."""
    found = getattr(assumed, name)
    if not found or key and key[0] not in found:
        told = f"{name}: expected {f'a number of {key[0]}' if key else 'a value'} for the plan, found {found!r}"
        raise params.ParameterError(f"{told}: set it in the scale's file, as params/scales/gpu-24gb.yaml does")
    return found[key[0]] if key else found


def launch_command(stage, p, assumed):
    """The words of a command that trains on several cards, with all parameters, before the notebook runs; none for one."""
    if stage not in (stages.TRAINED, stages.TUNED) or assumed is None or assumed.devices == 1:
        return []
    config = f"params/accelerate/{'fsdp' if p.trainable == 'full' else 'ddp'}.yaml"
    words = ["accelerate", "launch", "--config_file", config, "--num_processes", str(assumed.devices)]
    spell = partial(yaml.safe_dump, default_flow_style=True, allow_unicode=True, width=1 << 30)  # JSON's 5e-05 is text
    values = [f"--set={name}={spell([value]).strip()[1:-1]}" for name, value in asdict(p).items()]
    return [*words, "-m", "blossom.training", stage, *values]


def plan_run(stage, p, assumed):
    """Estimate what a stage with parameters `p` takes: a PlannedRun. ValueError when the base model's sizes are unknown."""
    if stage in ("01_tokenization_analysis", "07_report"):  # no model
        return PlannedRun(HOST_RESERVE, 0.1 * GB, limit=assumed.limit_hours)
    from blossom.batch import estimate  # imports torch: seconds, which only scales with a card need

    expanded = stage not in stages.READERS and any(stages.MERGED in r.stages for r in params.recipe_lineage(p.recipe))
    added = _assume(assumed, "new_rows") if expanded else assumed.new_rows if stage in stages.READERS else 0
    config, origin = read_config(p.base_model)
    trains = stage in (stages.TRAINED, stages.TUNED)
    size = estimate.measure_size(config, p if trains else None, added)
    stored = 2 * (size.layers + size.tables)  # bytes, in half precision
    if not trains:
        written, card = stored if stage == stages.MERGED else 1 * GB, stored + estimate.RESERVE["cuda"]
        return PlannedRun(stored + HOST_RESERVE, written, card, 1, limit=assumed.limit_hours, origin=origin)
    if stage == stages.TRAINED:
        tokens, batch, length = count_text_tokens(p, assumed, expanded), p.batch_size, p.block_size
        rows, accumulation = tokens / length, p.accumulation
    else:
        tokens, batch, length = count_example_tokens(p, assumed, expanded), p.sft_batch_size, p.sequence_length
        rows, accumulation = p.epochs * sum(_count_examples(p, assumed).values()), p.sft_accumulation
    width, shards = (4 if p.precision == "float32" else 2), (assumed.devices if p.trainable == "full" else 1)
    card = estimate.training_bytes(size, p, batch, length, width, shards, on_cpu=not assumed.device_name)
    # two checkpoints (a parameter and its two moments, in float32), the adapter, and the text's tokens, two bytes each
    disk = stored + (2 * 12 + 4) * size.trained + (2 * tokens if stage == stages.TRAINED else 0)
    speed = assumed.devices * _assume(assumed, "device_tflops") * 1e12 * assumed.utilisation
    hours = tokens * estimate.count_operations(size, p, length) / speed / 3600
    # sharded weights are gathered twice a forward pass and their float32 gradients summed; else gradients, once an update
    exchanged = (2 * width + 4) * size.total if shards > 1 else 8 * size.trained / accumulation
    exchanged *= rows / (batch * assumed.devices) * (1 - 1 / assumed.devices)
    hours = max(hours, exchanged / (assumed.link_gigabytes * GB) / 3600)  # while it computes
    # loaded by every process, or merged and reloaded by one; shards are gathered in the first one's memory for a checkpoint
    loads = max(2.5 if size.packed else 2, assumed.devices)  # after NF4, compared in float32 on a small card's host
    host = max(loads * stored, 12 * size.trained if shards > 1 else 0) + HOST_RESERVE
    return PlannedRun(host, disk, card, assumed.devices, hours, origin=origin)


def estimate_seconds(plan, run):
    """Seconds of a run: the longest of its stage's finished runs at this scale; else, at `laptop`, as measured; else 0."""
    file = Path("/proc/cpuinfo")
    flags = file.read_text() if file.exists() else "avx512_bf16"  # elsewhere: an assumption
    kind = 0 if "amx_bf16" in flags else 1 if "avx512_bf16" in flags else 2
    return plan.find_largest(run, "wall_seconds") or (TOLD["seconds"][run.stage][kind] if run.scale == "laptop" else 0)


def read_config(name):
    """A base model's transformers config, and where it was found: its folder, the hub's cache, or PUBLISHED.

    Nothing is downloaded. Raises ValueError when none of these has the model.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(Path(name).expanduser(), local_files_only=True, trust_remote_code=False)
        return config, f"{name}: sizes of its own config.json"
    except (OSError, ValueError):
        if name not in PUBLISHED:
            raise ValueError(f"base_model: the sizes of {name} are not known here; fetch it, or give its folder") from None
    return AutoConfig.for_model(**PUBLISHED[name]), f"{name}: sizes as published; the hub was not asked"


def count_text_tokens(p, assumed, expanded):
    """Tokens that stage 03 reads: training_tokens, or one epoch of both languages mixed by korean_share."""
    if p.training_tokens:
        return p.training_tokens
    sizes = {k: _assume(assumed, "bytes_per_token", k if expanded else f"base_{k}") / GB for k in ("korean", "english")}
    shares = {"korean": p.korean_share, "english": 1 - p.korean_share}
    return min(_assume(assumed, "text_gigabytes", k) / sizes[k] / share for k, share in shares.items() if share)


def count_example_tokens(p, assumed, expanded):
    """Tokens that stage 04 reads, in all epochs."""
    bytes_of = partial(_assume, assumed, "bytes_per_token")
    longer = 1 if expanded else bytes_of("korean") / bytes_of("base_korean")
    counts = _count_examples(p, assumed).items()
    return p.epochs * sum(n * _assume(assumed, "sft_tokens", task) * (1 if task == "en" else longer) for task, n in counts)


def _count_examples(p, assumed):
    counts = {task: _assume(assumed, "sft_counts", task) for task in p.sft_tasks}
    return {task: min(n, p.examples or n) for task, n in counts.items()}


class ScalePlan:
    """What the runs of one scale ask a cluster for. `plan` is a plan.Plan."""

    def __init__(self, plan, scale):
        self.plan, self.scale, self.runs = plan, scale, {}  # runs: (recipe, stage) -> PlannedRun
        self.assumed = read_assumptions(scale, **plan.overrides)  # None without a card

    def ask(self, run):
        """Resources of a RunName for Snakemake; without a card, 1.1 times the most memory of such runs, and SMALL."""
        if self.assumed is None:
            return SMALL | {"mem_mb": int(1.1 * self.plan.find_largest(run, "peak_bytes") / 1e6) or SMALL["mem_mb"]}
        key = run.recipe, run.stage
        if key not in self.runs:
            linked = self.plan.twin(run) is not None
            self.runs[key] = LINKED if linked else plan_run(run.stage, self.plan.effective(run), self.assumed)
        return self.runs[key].resources()

    def __str__(self):
        """The table at the end of `snakemake -n`, with sums and assumptions; "" without a card."""
        if not self.runs:
            return ""
        runs, a, text = self.runs.values(), self.assumed, sum(self.assumed.text_gigabytes.values())
        rows = [("recipe", "stage", "hours", "each card", "memory", "disk")]
        for (recipe, stage), run in self.runs.items():
            hours = "linked" if run is LINKED else "" if run.hours is None else f"{run.hours:,.1f}"
            card = f"{run.cards} x {run.card / GB:.0f} GB" if run.cards else ""
            rows.append((recipe, stage, hours, card, f"{run.memory / GB:.0f} GB", f"{run.disk / GB:.0f} GB"))
        hours, disk = sum(run.hours or 0 for run in runs), sum(run.disk for run in runs)
        rows.append(("all trainings", "one after the other", f"{hours:,.1f}", "", "", f"{disk / GB:.0f} GB"))
        lines = [f"Plan of {self.scale}", *("{:22} {:26} {:>8} {:>11} {:>8} {:>8}".format(*row) for row in rows)]
        origins = "; ".join(dict.fromkeys(run.origin for run in runs if run.origin))
        lines += ["", TOLD["assumed"].format(a=a, origins=origins, text=text, fetched=DOWNLOADED * text)]
        if large := [f"{recipe}/{stage}" for (recipe, stage), run in self.runs.items() if run.card > GB * a.device_memory]:
            lines.append(TOLD["over"].format(a=a, names=", ".join(large)))
        return "\n".join(lines)
