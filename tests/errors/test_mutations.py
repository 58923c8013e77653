"""Random values in parameter files: either they still work, or a ValueError names the file or the parameter."""

import copy
import functools
import tempfile
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blossom.common import params, paths, stages

SHIPPED = sorted(paths.ROOT.glob("params/*/*.yaml"))
TEXTS = {file: file.read_text(encoding="utf-8") for file in SHIPPED}
VALUES = {file: yaml.safe_load(text) for file, text in TEXTS.items()}

odd = ["2e-4", "yes", "~", "..", "/", "\0", "\ud800", "1:2", "base", "laptop", "2026-13-45"]
numbers = st.integers() | st.integers(min_value=-(10**400), max_value=10**400) | st.floats()
words = st.text(max_size=8) | st.sampled_from(odd)
scalars = st.none() | st.booleans() | numbers | words | st.dates() | st.binary(max_size=4)


def nested(leaves, keys):
    return st.recursive(leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=3), max_leaves=5)


values = nested(scalars, scalars)
QUICK = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def use(content):
    with tempfile.TemporaryDirectory() as folder, files_in(Path(folder)):
        (Path(folder) / "mine.yaml").write_bytes(content)
        for read in (
            lambda: params.read_params(Path(folder) / "mine.yaml"),
            lambda: params.read_recipe("mine"),
            lambda: params.recipe_lineage("mine"),
            lambda: params.starting_stage("mine", "05_benchmark_eval"),
            *(lambda stage=stage: params.effective_params(stage, "laptop", "mine") for stage in stages.STAGES),
            *(lambda stage=stage: params.effective_params(stage, "mine", "base") for stage in stages.STAGES),
        ):
            try:
                found = read()
            except ValueError as error:
                start = str(error).split(":")[0]  # a file, a parameter or a recipe
                assert start in params.KNOWN or ".yaml" in str(error) or start.startswith("recipe "), error
                assert len(str(error)) < 2000, "short enough to be read"
                if "mine.yaml" in str(error):  # the file itself: every other reader says the same
                    break
            else:
                if is_dataclass(found):
                    yaml.safe_dump(asdict(found))  # what works can be written beside the run


def files_in(folder):
    """Recipes and scales are looked for in `folder`, then among the shipped ones; each file is parsed once."""
    recipe, scale, mine = params.recipe_file, params.scale_file, folder / "mine.yaml"
    return patch.multiple(
        params,
        recipe_file=lambda name: mine if name == "mine" else recipe(name),
        scale_file=lambda name: mine if name == "mine" else scale(name),
        read_params=functools.cache(params.read_params),
    )


@QUICK
@given(st.sampled_from(SHIPPED), st.data())
def test_a_value_of_any_kind(file, data):
    changed = copy.deepcopy(VALUES[file])
    known = st.sampled_from([*changed, *sorted(params.KNOWN)])
    for name in data.draw(st.lists(known | st.text(max_size=6), min_size=1, max_size=3)):
        changed[name] = data.draw(values)
    use(as_yaml(changed))


def as_yaml(value):
    try:
        return yaml.dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except Exception:
        return repr(value).encode("utf-8", "surrogatepass")


EVIL = (b"seed: !!int ''", b"? [a, b]\n: 1", b"sentence: !!timestamp x", b"learning_rate: " + b"9" * 400)
EVIL += tuple(TEXTS[SHIPPED[0]].encode(encoding) for encoding in ("utf-16", "utf-8-sig", "utf-32"))
EVIL += (b"seed: 0x" + b"f" * 9000, b"korean_texts: &a [*a]", b"seed: " + b"{a: " * 300 + b"1" + b"}" * 300)


@pytest.mark.parametrize("content", EVIL)
def test_bytes_that_broke_a_yaml_reader(content):
    use(content)


@QUICK
@given(st.sampled_from(sorted(stages.STAGES)), st.data())
def test_a_notebook_takes_or_refuses_any_value(stage, data):
    cls = stages.STAGES[stage]
    name = data.draw(st.sampled_from([f.name for f in fields(cls)]))
    value = data.draw(values)
    try:
        p = params.collect_params(cls, {name: value})
    except params.ParameterError as error:
        assert str(error).startswith(name), error
        assert error._render_traceback_() == [f"ParameterError: {error}"]
    else:
        assert type(getattr(p, name)) is type(getattr(cls(), name))
