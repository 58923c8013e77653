"""Rows: parameters, their files, and the commands that take them."""

# fmt: off
import subprocess
import sys

import yaml

from blossom.common import params, paths, runs, stages
from tests.errors.bad_files import read_parameters
from tests.errors.table import case

FILES = "parameters"
COMMANDS = "commands"


case(FILES, "a comma within a number, in a notebook", ValueError, "added_pieces", "found tuple (2, 0)")(
    lambda: params.collect_params(stages.VocabMerge, {"added_pieces": (2, 0)}))

@case(FILES, "another base than the earlier stage's", ValueError, "base_model", "'tiny-byte-level'", "'my/model'")
def other_base(tmp_path):
    settings = {"outputs": str(tmp_path), "base_model": "my/model"}
    p = params.effective_params("03_bilingual_pretraining", "smoke", "blossom-bi", **settings)
    earlier = params.effective_params("02_vocab_merge", "smoke", "blossom-bi", outputs=str(tmp_path))
    runs.Run(earlier, "02_vocab_merge").finish({})
    runs.require_model(p, "03_bilingual_pretraining")

@case(FILES, "a YAML tag that would run a command", ValueError, "mine.yaml",
     "'tag:yaml.org,2002:python/object/apply:os.system'")
def python_object(tmp_path):
    marker = tmp_path / "marker"
    try:
        (tmp_path / "mine.yaml").write_text(f"sentence: !!python/object/apply:os.system ['touch {marker}']\n")
        read_parameters(tmp_path / "mine.yaml")
    finally:
        assert not marker.exists()

@case(FILES, "aliases that unfold into billions of values", ValueError, "korean_texts", "expected a valid string at 0",
     "found list ['x', 'x',")
def bomb(tmp_path):
    names = ["korean_texts", "english_texts", "scripts", "lora_targets", "tasks", "beside", "raters", "served", "probes"]
    lines = ["tokenizers: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n, name in enumerate(names)]
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    read_parameters(tmp_path / "mine.yaml")


def snakemake(*config, target="outputs/laptop/report.html"):
    words = ["-n", "--nolock", "--quiet", "rules", *(["--config", *config] if config else []), "--", target]
    return failing([sys.executable, "-m", "snakemake", *words]).splitlines()[-1]


def failing(command):
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "params.py" not in done.stdout + done.stderr
    return done.stdout + done.stderr
case(COMMANDS, "Snakemake is asked for a recipe that is not there", None, "params/recipes/nonsense.yaml", "base")(
    lambda: snakemake("recipes=base,nonsense"))
case(COMMANDS, "Snakemake (or make run SCALE=...) is asked for a scale that is not there", None,
     "params/scales/desktop.yaml", "laptop")(
    lambda: snakemake(target="outputs/desktop/report.html"))
case(COMMANDS, "a parameter given to Snakemake is mistyped", None, "--config set", "'batch_sizee'", "'batch_size'")(
    lambda: snakemake("set={batch_sizee: 1}"))
@case(COMMANDS, "a notebook gets an invalid parameter", None, "sentence", "expected a valid string", "found int 3")
def papermill(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"sentence": 3}))
    words = ["notebooks/01_tokenization_analysis.ipynb", str(tmp_path / "out.ipynb"), "-f", str(tmp_path / "mine.yaml")]
    told = failing([sys.executable, "-m", "papermill", *words, "--cwd", ".", "--no-progress-bar"])
    return told[told.index("Exception encountered") :]
