"""Rows: parameters, their files, and the commands that take them."""

# fmt: off
import subprocess
import sys

import yaml

from blossom.common import params, paths, runs, stages
from tests.errors.table import case

FILES = "parameters"
COMMANDS = "commands"


def read(tmp_path, content):
    """Read `content` (text or bytes) as a parameter file, and build every notebook's parameters from it."""
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    values = params.read_params(file)
    for cls in stages.STAGES.values():
        params.build_params(cls, values)
case(FILES, "a name mistyped", ValueError, "mine.yaml", "'learning_rat'", "'learning_rate'")(
    lambda tmp_path: read(tmp_path, "learning_rat: 0.001\n"))
case(FILES, "a number that YAML takes for text", ValueError, "learning_rate", "expected a valid number", "found str '2e-4'",
     "2.0e-04")(
    lambda tmp_path: read(tmp_path, "learning_rate: 2e-4\n"))
case(FILES, "a comma within a number, in a notebook", ValueError, "added_pieces", "found tuple (2, 0)")(
    lambda tmp_path: params.collect_params(stages.VocabMerge, {"added_pieces": (2, 0)}))

@case(FILES, "another base than the earlier stage's", ValueError, "base_model", "'tiny-byte-level'", "'my/model'")
def other_base(tmp_path):
    settings = {"outputs": str(tmp_path), "base_model": "my/model"}
    p = params.effective_params("03_bilingual_pretraining", "smoke", "blossom-bi", **settings)
    folder = paths.stage_folder(p.outputs, p.scale, p.recipe, "02_vocab_merge")
    paths.write_json(folder / "metrics.json", {})
    paths.write_text(folder / "params.yaml", "base_model: tiny-byte-level\n")
    paths.write_json(folder / "manifest.json", {"outputs": {}})
    runs.require_model(p, "03_bilingual_pretraining")

case(FILES, "a value out of range", ValueError, "batch_size", "greater than or equal to 1", "found int -1")(
    lambda tmp_path: read(tmp_path, "batch_size: -1\n"))
case(FILES, "a share above 1", ValueError, "korean_share", "less than or equal to 1", "found int 70")(
    lambda tmp_path: read(tmp_path, "korean_share: 70\n"))
case(FILES, "no number", ValueError, "learning_rate", "expected a finite number", "found float nan")(
    lambda tmp_path: read(tmp_path, "learning_rate: .nan\n"))
case(FILES, "a number too large for any machine", ValueError, "seed", "less than 9223372036854775808", "found int 9999")(
    lambda tmp_path: read(tmp_path, f"seed: {'9' * 60}\n"))
case(FILES, "a word that is none of the choices", ValueError, "trainable", "'lora+embeddings'",
     "found str 'lora'")(
    lambda tmp_path: read(tmp_path, "trainable: lora\n"))
case(FILES, "one word where a list is meant", ValueError, "korean_texts", "expected a valid list", "found str 'my.txt'")(
    lambda tmp_path: read(tmp_path, "korean_texts: my.txt\n"))
case(FILES, "a number in a list of words", ValueError, "tokenizers", "expected a valid string at 1", "found int 1")(
    lambda tmp_path: read(tmp_path, "tokenizers: [mistral-v1, 1]\n"))
case(FILES, "a negative weight", ValueError, "source_weights", "'aligned-ko'", "found int -1")(
    lambda tmp_path: read(tmp_path, "source_weights: {aligned-ko: -1}\n"))
case(FILES, "half a character", ValueError, "sentence", "expected a valid string", "'\\ud800'")(
    lambda tmp_path: read(tmp_path, r'sentence: "\ud800"'))
case(FILES, "a name given twice", ValueError, "mine.yaml", "'seed'", "line 2")(
    lambda tmp_path: read(tmp_path, "seed: 1\nseed: 2\n"))
case(FILES, "a list instead of names", ValueError, "mine.yaml", "expected 'name: value'", "found list")(
    lambda tmp_path: read(tmp_path, "- seed\n"))
case(FILES, "an empty file", ValueError, "mine.yaml", "expected 'name: value'", "found NoneType")(
    lambda tmp_path: read(tmp_path, ""))
case(FILES, "a file cut off in the middle", ValueError, "mine.yaml", "not a readable YAML file", "line 1")(
    lambda tmp_path: read(tmp_path, "korean_texts: [aligned-ko,"))
case(FILES, "a file in CP949, not UTF-8", ValueError, "mine.yaml", "'utf-8' codec")(
    lambda tmp_path: read(tmp_path, "sentence: 햄버거\n".encode("cp949")))

@case(FILES, "a YAML tag that would run a command", ValueError, "mine.yaml",
     "'tag:yaml.org,2002:python/object/apply:os.system'")
def python_object(tmp_path):
    marker = tmp_path / "marker"
    try:
        read(tmp_path, f"sentence: !!python/object/apply:os.system ['touch {marker}']\n")
    finally:
        assert not marker.exists()

case(FILES, "a name that is a line of code", ValueError, "mine.yaml", "__import__('os')")(
    lambda tmp_path: read(tmp_path, "\"seed = __import__('os').system('true') #\": 1\n"))

@case(FILES, "aliases that unfold into billions of values", ValueError, "korean_texts", "expected a valid string at 0",
     "found list ['x', 'x',")
def bomb(tmp_path):
    names = ["korean_texts", "english_texts", "scripts", "lora_targets", "tasks", "beside", "raters", "served", "probes"]
    lines = ["tokenizers: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n, name in enumerate(names)]
    read(tmp_path, "\n".join(lines))

@case(FILES, "a file that is not there", ValueError, "no such parameter file", "a, b")
def missing_file(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text("seed: 1\n")
    params.read_params(tmp_path / "c.yaml")

case(FILES, "a folder instead of a file", ValueError, "Is a directory")(lambda tmp_path: params.read_params(tmp_path))
case(FILES, "a scale that is not there", ValueError, "params/scales/desktop.yaml", "laptop")(
    lambda: params.effective_params("03_bilingual_pretraining", "desktop", "blossom-bi"))

@case(FILES, "a recipe whose parent is not there", ValueError, "nobody.yaml", "there are: c")
def no_parent(tmp_path, monkeypatch):
    (tmp_path / "c.yaml").write_text("parent: nobody\nstages: []\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    params.recipe_lineage("c")

@case(FILES, "recipes that are each other's parent", ValueError, "recipe a", "a -> b -> a")
def loop(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("parent: b\nstages: []\n")
    (tmp_path / "b.yaml").write_text("parent: a\nstages: []\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    params.recipe_lineage("a")

@case(FILES, "a recipe's stages out of order", ValueError, "d.yaml", "expected names from 01_tokenization_analysis",
     "found ['05_benchmark_eval'")
def disorder(tmp_path, monkeypatch):
    (tmp_path / "d.yaml").write_text("stages: [05_benchmark_eval, 02_vocab_merge]\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    params.read_recipe("d")


# ------------------------------------------------------------------------------------------------------------ commands


def snakemake(*config, target="outputs/laptop/report.html"):
    """The last line of a dry run."""
    words = ["-n", "--nolock", "--quiet", "rules", *(["--config", *config] if config else []), "--", target]
    return failing([sys.executable, "-m", "snakemake", *words]).splitlines()[-1]


def failing(command):
    """The output of a command that must fail, and not in our code's lines."""
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "params.py" not in done.stdout + done.stderr
    return done.stdout + done.stderr
case(COMMANDS, "Snakemake is asked for a recipe that is not there", None, "params/recipes/nonsense.yaml", "base")(
    lambda: snakemake("recipes=base,nonsense"))
case(COMMANDS, "Snakemake (or make run SCALE=...) is asked for a scale that is not there", None,
     "params/scales/desktop.yaml", "laptop")(
    lambda: snakemake(target="outputs/desktop/report.html"))
case(COMMANDS, "a parameter given to Snakemake is out of range", None, "--config set: batch_size",
     "greater than or equal to 1", "found int -1")(
    lambda: snakemake("set={batch_size: -1}"))
case(COMMANDS, "a parameter given to Snakemake is mistyped", None, "--config set", "'batch_sizee'", "'batch_size'")(
    lambda: snakemake("set={batch_sizee: 1}"))
case(COMMANDS, "what is given to Snakemake is no list of names", None, "--config set", "expected {name: value", "found 3")(
    lambda: snakemake("set=3"))

@case(COMMANDS, "a notebook gets a parameter that cannot be", None, "sentence", "expected a valid string", "found int 3")
def papermill(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"sentence": 3}))
    words = ["notebooks/01_tokenization_analysis.ipynb", str(tmp_path / "out.ipynb"), "-f", str(tmp_path / "mine.yaml")]
    told = failing([sys.executable, "-m", "papermill", *words, "--cwd", ".", "--no-progress-bar"])
    return told[told.index("Exception encountered") :]

case(COMMANDS, "the launch of several processes: a parameter without a value", ValueError, "--set rank",
     "expected NAME=VALUE")(
    lambda: launch(["rank"]))
case(COMMANDS, "the launch of several processes: a value that is no YAML", ValueError, "lora_rank", "'['")(
    lambda: launch(["lora_rank=["]))
case(COMMANDS, "the launch of several processes, without a checkpoint for the notebook", ValueError, "checkpoints",
     "expected at least 1", "found 0")(
    lambda: launch(["checkpoints=0"]))


def launch(words):
    from blossom.training.__main__ import read_training_params

    read_training_params([], words)
