"""Rows: parameters, their files, and the commands that take them."""

# fmt: off
import subprocess
import sys

import yaml

from blossom.common import params, paths, runs, stages
from tests.errors.table import row

FILES = "parameters"
COMMANDS = "commands"


def read(tmp_path, content):
    """Read `content` (text or bytes) as a parameter file, and build every notebook's parameters from it."""
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    values = params.read_params(file)
    for cls in stages.STAGES.values():
        params.build_params(cls, values)


@row(FILES, "a name mistyped", ValueError,
     "mine.yaml: no parameter is called 'learning_rat'; did you mean 'learning_rate'?", "Use the name it suggests.")
def mistyped(tmp_path):
    read(tmp_path, "learning_rat: 0.001\n")


@row(FILES, "a number that YAML takes for text", ValueError,
     "learning_rate: expected float, found str '2e-4' (YAML reads 2e-4 as text: write 2.0e-04 or a plain number)",
     "Write 2.0e-4 or 0.0002.")
def exponent(tmp_path):
    read(tmp_path, "learning_rate: 2e-4\n")


@row(FILES, "a comma within a number, in a notebook", ValueError, "added_pieces: expected int, found tuple (2, 0)",
     "Write 2000 or 2_000.")
def comma(tmp_path):
    params.collect_params(stages.VocabMerge, {"added_pieces": (2, 0)})


@row(FILES, "another base than the earlier stage's", ValueError,
     "base_model: blossom-bi/02_vocab_merge was made with 'tiny-byte-level', here it is 'my/model'; run 02_vocab_merge",
     "As it says.")
def other_base(tmp_path):
    settings = {"outputs": str(tmp_path), "base_model": "my/model"}
    p = params.effective_params("03_bilingual_pretraining", "smoke", "blossom-bi", **settings)
    folder = paths.stage_folder(p.outputs, p.scale, p.recipe, "02_vocab_merge")
    paths.write_json(folder / "metrics.json", {})
    paths.write_text(folder / "params.yaml", "base_model: tiny-byte-level\n")
    paths.write_json(folder / "manifest.json", {"outputs": {}})
    runs.require_model(p, "03_bilingual_pretraining")


@row(FILES, "a value out of range", ValueError, "batch_size: expected at least 1, found -1", "Take a value of the range.")
def out_of_range(tmp_path):
    read(tmp_path, "batch_size: -1\n")


@row(FILES, "a share above 1", ValueError, "korean_share: expected 0.0 to 1.0, found 70", "Shares are parts of 1: 0.7.")
def percent(tmp_path):
    read(tmp_path, "korean_share: 70\n")


@row(FILES, "no number", ValueError, "learning_rate: expected a finite number, found nan", "Give a number.")
def nan(tmp_path):
    read(tmp_path, "learning_rate: .nan\n")


@row(FILES, "a number too large for any machine", ValueError,
     "seed: expected a number of at most 64 bits, found 9999…", "Take a smaller one.")
def huge(tmp_path):
    read(tmp_path, f"seed: {'9' * 60}\n")


@row(FILES, "a word that is none of the choices", ValueError,
     "trainable: expected one of lora+embeddings, lora+new-rows, full, found 'lora'", "Choose one of those named.")
def choice(tmp_path):
    read(tmp_path, "trainable: lora\n")


@row(FILES, "one word where a list is meant", ValueError,
     "korean_texts: expected list, found str 'my.txt'", "Write [my.txt].")
def no_list(tmp_path):
    read(tmp_path, "korean_texts: my.txt\n")


@row(FILES, "a number in a list of words", ValueError,
     "tokenizers: expected a list of words, found ['mistral-v1', 1]", "Quote it, or take it out.")
def mixed_list(tmp_path):
    read(tmp_path, "tokenizers: [mistral-v1, 1]\n")


@row(FILES, "a negative weight", ValueError,
     "source_weights: expected 'name: number' with numbers from 0 up, found 'aligned-ko': -1", "Weights count from 0.")
def weight(tmp_path):
    read(tmp_path, "source_weights: {aligned-ko: -1}\n")


@row(FILES, "half a character", ValueError,
     r"sentence: expected text, found half a character in '\ud800'", "Write the whole character.")
def surrogate(tmp_path):
    read(tmp_path, r'sentence: "\ud800"')


@row(FILES, "a name given twice", ValueError, "mine.yaml: not a readable YAML file: 'seed' is given twice (line 2)",
     "Delete one of the two lines.")
def twice(tmp_path):
    read(tmp_path, "seed: 1\nseed: 2\n")


@row(FILES, "a list instead of names", ValueError, "mine.yaml: expected 'name: value' lines, found list",
     "Write 'name: value', a line each.")
def a_list(tmp_path):
    read(tmp_path, "- seed\n")


@row(FILES, "an empty file", ValueError, "mine.yaml: expected 'name: value' lines, found NoneType",
     "Leave the file out, or write a parameter into it.")
def empty(tmp_path):
    read(tmp_path, "")


@row(FILES, "a file cut off in the middle", ValueError,
     "mine.yaml: not a readable YAML file: while parsing a flow node … line 1", "Mend the line it names.")
def truncated(tmp_path):
    read(tmp_path, "korean_texts: [aligned-ko,")


@row(FILES, "a file in CP949, not UTF-8", ValueError,
     "mine.yaml: not a readable YAML file: 'utf-8' codec can't decode byte …", "iconv -f cp949 -t utf-8.")
def cp949(tmp_path):
    read(tmp_path, "sentence: 햄버거\n".encode("cp949"))


@row(FILES, "a YAML tag that would run a command", ValueError,
     "mine.yaml: not a readable YAML file: could not determine a constructor for the tag "
     "'tag:yaml.org,2002:python/object/apply:os.system'", "Throw the file away: nothing of it has run.")
def python_object(tmp_path):
    marker = tmp_path / "marker"
    try:
        read(tmp_path, f"sentence: !!python/object/apply:os.system ['touch {marker}']\n")
    finally:
        assert not marker.exists()


@row(FILES, "a name that is a line of code", ValueError,
     "mine.yaml: no parameter is called 'seed = __import__('os').system('true') #'", "Throw the file away.")
def code_as_name(tmp_path):
    read(tmp_path, "\"seed = __import__('os').system('true') #\": 1\n")


@row(FILES, "aliases that unfold into billions of values", ValueError,
     "korean_texts: expected a list of words, found [['x', 'x',…", "Throw the file away.")
def bomb(tmp_path):
    names = ["korean_texts", "english_texts", "scripts", "lora_targets", "tasks", "beside", "raters", "served", "probes"]
    lines = ["tokenizers: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n, name in enumerate(names)]
    read(tmp_path, "\n".join(lines))


@row(FILES, "a file that is not there", ValueError, "no such parameter file; there are: a, b", "Name one of those.")
def missing_file(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text("seed: 1\n")
    params.read_params(tmp_path / "c.yaml")


@row(FILES, "a folder instead of a file", ValueError, "not a readable file: Is a directory", "Name the file in it.")
def a_folder(tmp_path):
    params.read_params(tmp_path)


@row(FILES, "a scale that is not there", ValueError,
     "params/scales/desktop.yaml: no such parameter file; there are: laptop, …", "Name one of those, or write the file.")
def no_scale():
    params.effective_params("03_bilingual_pretraining", "desktop", "blossom-bi")


@row(FILES, "a recipe whose parent is not there", ValueError,
     "nobody.yaml: no such parameter file; there are: c", "Correct parent: in the recipe.")
def no_parent(tmp_path, monkeypatch):
    (tmp_path / "c.yaml").write_text("parent: nobody\nstages: []\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    params.recipe_lineage("c")


@row(FILES, "recipes that are each other's parent", ValueError,
     "recipe a: its parents loop: a -> b -> a", "Correct parent: in one of them.")
def loop(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("parent: b\nstages: []\n")
    (tmp_path / "b.yaml").write_text("parent: a\nstages: []\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    params.recipe_lineage("a")


@row(FILES, "a recipe's stages out of order", ValueError,
     "d.yaml: stages: expected names from 01_tokenization_analysis, …, 07_report in that order, found ['05_benchmark_eval'",
     "List them by number.")
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


@row(COMMANDS, "Snakemake is asked for a recipe that is not there", "exit 1",
     "params/recipes/nonsense.yaml: no such parameter file; there are: base, …", "Name one of those.")
def no_recipe():
    return snakemake("recipes=base,nonsense")


@row(COMMANDS, "Snakemake (or make run SCALE=...) is asked for a scale that is not there", "exit 1",
     "params/scales/desktop.yaml: no such parameter file; there are: laptop, …", "Name one of those, or write the file.")
def target_scale():
    return snakemake(target="outputs/desktop/report.html")


@row(COMMANDS, "a parameter given to Snakemake is out of range", "exit 1",
     "--config set: batch_size: expected at least 1, found -1", "Take a value of the range.")
def set_out_of_range():
    return snakemake("set={batch_size: -1}")


@row(COMMANDS, "a parameter given to Snakemake is mistyped", "exit 1",
     "--config set: no parameter is called 'batch_sizee'; did you mean 'batch_size'?", "Use the name it suggests.")
def set_mistyped():
    return snakemake("set={batch_sizee: 1}")


@row(COMMANDS, "what is given to Snakemake is no list of names", "exit 1",
     "--config set: expected {name: value, ...}, found 3", "Write 'set={name: value}'.")
def set_no_names():
    return snakemake("set=3")


@row(COMMANDS, "a notebook gets a parameter that cannot be", "exit 1",
     'Exception encountered at "In [… ValueError: sentence: expected str, found int 3',
     "Correct the value; no code is wrong.")
def papermill(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"sentence": 3}))
    words = ["notebooks/01_tokenization_analysis.ipynb", str(tmp_path / "out.ipynb"), "-f", str(tmp_path / "mine.yaml")]
    told = failing([sys.executable, "-m", "papermill", *words, "--cwd", ".", "--no-progress-bar"])
    return told[told.index("Exception encountered") :]


@row(COMMANDS, "the launch of several processes: a parameter without a value", ValueError,
     "--set rank: expected NAME=VALUE", "Write --set rank=4.")
def launch_word():
    launch(["rank"])


@row(COMMANDS, "the launch of several processes: a value that is no YAML", ValueError,
     "--set: lora_rank: not a readable value: '['", "Quote it for the shell.")
def launch_value():
    launch(["lora_rank=["])


@row(COMMANDS, "the launch of several processes, without a checkpoint for the notebook", ValueError,
     "checkpoints: expected at least 1, found 0: the notebook takes the training over from its last one",
     "Set checkpoints to 1 or more.")
def launch_checkpoints():
    launch(["checkpoints=0"])


def launch(words):
    from blossom.training.__main__ import parameters

    parameters([], words)
