"""Random damage to the shipped parameter files: either they still work, or a ValueError names the file or the parameter."""

import copy
import functools
import random
import tempfile
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from blossom import params, paths

SHIPPED = sorted(paths.ROOT.glob("params/*/*.yaml"))
TEXTS = {file: file.read_text(encoding="utf-8") for file in SHIPPED}
VALUES = {file: yaml.safe_load(text) for file, text in TEXTS.items()}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["2e-4", "yes", "~", "..", "/", "\0", "\ud800", "1:2", "base", "laptop", "2026-13-45"]),
    st.dates(),
    st.binary(max_size=4),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=5
)
PIECES = ("", " ", "\n", "\t", "- ", ": ", "[", "{", "'", '"', "&a ", "*a", "!!", "|", "#", "%", "\0", "가")
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def use(content):
    """What a run does with a parameter file of this content, as a scale's and as a recipe's."""
    with tempfile.TemporaryDirectory() as folder, files_in(Path(folder)):
        (Path(folder) / "mine.yaml").write_bytes(content)
        for read in (
            lambda: params.read(Path(folder) / "mine.yaml"),
            lambda: params.recipe("mine"),
            lambda: params.lineage("mine"),
            lambda: params.starting_stage("mine", "05_benchmark_eval"),
            *(lambda stage=stage: params.effective(stage, "laptop", "mine") for stage in params.STAGES),
            *(lambda stage=stage: params.effective(stage, "mine", "base") for stage in params.STAGES),
        ):
            try:
                found = read()
            except ValueError as error:
                assert names_its_cause(str(error)), error
                if "mine.yaml" in str(error):  # the file itself: every other reader says the same
                    break
            else:
                if is_dataclass(found):
                    yaml.safe_dump(asdict(found))  # what works can be written beside the run


class files_in:
    """Recipes and scales are looked for in `folder`, then among the shipped ones; each file is parsed once."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.kept = params.recipe_file, params.scale_file, params.read
        recipe, scale, read = self.kept
        mine = self.folder / "mine.yaml"
        params.recipe_file = lambda name: mine if name == "mine" else recipe(name)
        params.scale_file = lambda name: mine if name == "mine" else scale(name)
        params.read = functools.cache(read)

    def __exit__(self, *_):
        params.recipe_file, params.scale_file, params.read = self.kept


def names_its_cause(message):
    """Does it start with a file, a parameter or a recipe, and is it short enough to be read?"""
    start = message.split(":")[0]
    return len(message) < 2000 and (start in params.KNOWN or ".yaml" in message or start.startswith("recipe "))


@QUICK
@given(st.sampled_from(SHIPPED), st.data())
def test_a_value_of_any_kind(file, data):
    changed = copy.deepcopy(VALUES[file])
    known = st.sampled_from([*changed, *sorted(params.KNOWN)])
    for name in data.draw(st.lists(known | st.text(max_size=6), min_size=1, max_size=3)):
        changed[name] = data.draw(values)
    use(as_yaml(changed))


def as_yaml(value):
    """Bytes of a YAML file; what YAML cannot write as text goes in as its repr."""
    try:
        return yaml.dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except Exception:
        return repr(value).encode("utf-8", "surrogatepass")


@QUICK
@given(st.sampled_from(SHIPPED), st.integers(0, 2**32), st.integers(1, 6))
def test_letters_lost_doubled_and_exchanged(file, seed, times):
    draw, text = random.Random(seed), TEXTS[file]
    for _ in range(times):
        place = draw.randrange(len(text) + 1)
        piece = draw.choice(PIECES)
        text = text[:place] + piece + text[place + draw.choice([0, 1, 3]) :]
    use(text.encode())


@settings(QUICK, max_examples=30)
@given(st.sampled_from(SHIPPED), st.sampled_from(["cp949", "utf-16", "utf-8-sig", "latin-1", "utf-32"]), st.integers(0, 400))
def test_another_encoding_or_a_file_cut_off(file, encoding, cut):
    use(TEXTS[file].encode(encoding, "replace"))
    use(TEXTS[file].encode()[:cut])
    use((TEXTS[file] + TEXTS[file][:cut]).encode())  # names given twice


@QUICK
@given(st.binary(max_size=80))
@example(b"seed: !!int ''")
@example(b"? [a, b]\n: 1")
@example(b"sentence: !!timestamp x")
@example(b"learning_rate: " + b"9" * 400)
@example(b"seed: 0x" + b"f" * 9000)
@example(b"korean_texts: &a [*a]")
@example(b"seed: " + b"{a: " * 300 + b"1" + b"}" * 300)
def test_any_bytes_at_all(content):
    use(content)


@QUICK
@given(st.sampled_from(sorted(params.STAGES)), st.data())
def test_a_notebook_takes_or_refuses_any_value(stage, data):
    cls = params.STAGES[stage]
    name = data.draw(st.sampled_from([f.name for f in fields(cls)]))
    value = data.draw(values)
    try:
        p = params.collect(cls, {name: value})
    except params.Refused as error:
        assert str(error).startswith(name), error
        assert error._render_traceback_() == [f"ValueError: {error}"]
    else:
        assert type(getattr(p, name)) is next(f.type for f in fields(cls) if f.name == name)


@QUICK
@given(values)
def test_a_command_line_takes_or_refuses_any_value(value):
    try:
        params.given(value, "--config set")
    except ValueError as error:
        assert str(error).startswith("--config set: ")
