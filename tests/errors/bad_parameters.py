"""Rows: parameters, their files, and the commands that take them."""

# fmt: off
import subprocess
import sys

import yaml

from blossom.common import params, paths, runs, stages
from tests.errors.table import case, file_case

FILES = "parameters"
COMMANDS = "commands"


def read(file):
    values = params.read_params(file)
    for cls in stages.STAGES.values():
        params.build_params(cls, values)


for wrong, content, *words in (
    ("a name mistyped", "learning_rat: 0.001\n", "mine.yaml", "'learning_rat'", "'learning_rate'"),
    ("a number that YAML takes for text", "learning_rate: 2e-4\n", "learning_rate", "found str '2e-4'", "2.0e-04"),
    ("a value out of range", "batch_size: -1\n", "batch_size", "greater than or equal to 1", "found int -1"),
    ("a share above 1", "korean_share: 70\n", "korean_share", "less than or equal to 1", "found int 70"),
    ("no number", "learning_rate: .nan\n", "learning_rate", "expected a finite number", "found float nan"),
    ("a number too large for any machine", f"seed: {'9' * 60}\n", "seed", "9223372036854775808", "found int 9999"),
    ("a word that is none of the choices", "trainable: rows\n", "trainable", "'lora+embeddings'", "found str 'rows'"),
    ("one word where a list is meant", "korean_texts: my.txt\n", "korean_texts", "a valid list", "found str 'my.txt'"),
    ("a number in a list of words", "tokenizers: [mistral-v1, 1]\n", "tokenizers", "a valid string at 1", "found int 1"),
    ("a negative weight", "source_weights: {aligned-ko: -1}\n", "source_weights", "'aligned-ko'", "found int -1"),
    ("half a character", r'sentence: "\ud800"', "sentence", "expected a valid string", "'\\ud800'"),
    ("a name given twice", "seed: 1\nseed: 2\n", "mine.yaml", "'seed'", "line 2"),
    ("a list instead of names", "- seed\n", "mine.yaml", "expected 'name: value'", "found list"),
    ("an empty file", "", "mine.yaml", "expected 'name: value'", "found NoneType"),
    ("a file cut off in the middle", "korean_texts: [aligned-ko,", "mine.yaml", "not a readable YAML file", "line 1"),
    ("a file in CP949, not UTF-8", "sentence: 햄버거\n".encode("cp949"), "mine.yaml", "'utf-8' codec"),
    ("a name that is a line of code", "\"seed = __import__('os')\": 1\n", "mine.yaml", "__import__('os')"),
):
    file_case(FILES, wrong, read, "mine.yaml", content, *words)

case(FILES, "a comma within a number, in a notebook", ValueError, "added_pieces", "found tuple (2, 0)")(
    lambda: params.collect_params(stages.VocabMerge, {"added_pieces": (2, 0)}))

@case(FILES, "another base than the earlier stage's", ValueError, "base_model", "'tiny-byte-level'", "'my/model'")
def other_base(tmp_path):
    settings = {"outputs": str(tmp_path), "base_model": "my/model"}
    p = params.effective_params("03_bilingual_pretraining", "smoke", "blossom-bi", **settings)
    folder = paths.stage_folder(p.outputs, p.scale, p.recipe, "02_vocab_merge")
    paths.write_json(folder / "metrics.json", {})
    paths.write_text(folder / "params.yaml", "base_model: tiny-byte-level\n")
    paths.write_json(folder / "manifest.json", {"outputs": {}})
    runs.require_model(p, "03_bilingual_pretraining")

@case(FILES, "a YAML tag that would run a command", ValueError, "mine.yaml",
     "'tag:yaml.org,2002:python/object/apply:os.system'")
def python_object(tmp_path):
    marker = tmp_path / "marker"
    try:
        (tmp_path / "mine.yaml").write_text(f"sentence: !!python/object/apply:os.system ['touch {marker}']\n")
        read(tmp_path / "mine.yaml")
    finally:
        assert not marker.exists()

@case(FILES, "aliases that unfold into billions of values", ValueError, "korean_texts", "expected a valid string at 0",
     "found list ['x', 'x',")
def bomb(tmp_path):
    names = ["korean_texts", "english_texts", "scripts", "lora_targets", "tasks", "beside", "raters", "served", "probes"]
    lines = ["tokenizers: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n, name in enumerate(names)]
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    read(tmp_path / "mine.yaml")

case(FILES, "a folder instead of a file", ValueError, "Is a directory")(lambda tmp_path: params.read_params(tmp_path))
case(FILES, "a scale that is not there", ValueError, "params/scales/desktop.yaml", "laptop")(
    lambda: params.effective_params("03_bilingual_pretraining", "desktop", "blossom-bi"))

for wrong, recipes, words in (
    ("a recipe whose parent is not there", {"a": "parent: nobody\nstages: []"}, ("nobody.yaml", "there are: a")),
    ("recipes that are each other's parent", {"a": "parent: b\nstages: []", "b": "parent: a\nstages: []"}, ("a -> b -> a",)),
    ("a recipe's stages out of order", {"a": "stages: [05_benchmark_eval, 02_vocab_merge]"},
     ("a.yaml", "expected names from 01_tokenization_analysis", "found ['05_benchmark_eval'")),
):
    @case(FILES, wrong, ValueError, *words)
    def bad_recipe(tmp_path, monkeypatch, recipes=recipes):
        for name, text in recipes.items():
            (tmp_path / f"{name}.yaml").write_text(text + "\n")
        monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
        params.recipe_lineage("a")


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
case(COMMANDS, "what is given to Snakemake is no list of names", ValueError, "--config set", "found 3")(
    lambda: params.parse_overrides(3, "--config set"))

@case(COMMANDS, "a notebook gets an invalid parameter", None, "sentence", "expected a valid string", "found int 3")
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


def launch(words):
    from blossom.training.__main__ import read_training_params

    read_training_params([], words)
