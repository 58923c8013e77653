"""Random damage to parameter files and data: either they still work, or a ValueError names the file or the parameter."""

import copy
import functools
import json
import tempfile
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blossom.benchmark.rows import check_task_rows, load_task, read_task_rows
from blossom.benchmark.suite import task_names
from blossom.common import params, paths, stages
from blossom.instructions import merging, review
from blossom.instructions.readers import read_instructions
from blossom.preference import prompts
from tests.cases import read_cases

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


short = st.text(max_size=5)
jsons = nested(st.none() | st.booleans() | st.integers() | st.floats() | short | st.just("\ud800"), short)


def damaged(data, value):
    """`value`, a JSON value, with one place of it exchanged for another JSON value."""
    if not isinstance(value, dict | list) or not value or data.draw(st.integers(0, 3)) == 0:
        return data.draw(jsons)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key, changed = data.draw(st.sampled_from(keys)), copy.copy(value)
    changed[key] = damaged(data, value[key])
    return changed


FORMS = read_cases(paths.ROOT / "tests/test_instructions.py")["forms"]
FILES = [(row, lambda file: read_instructions(str(file), "ko")) for row in FORMS]
FILES += [({"id": "a", "kind": "code", "ko": "질문", "en": "Q?"}, lambda file: prompts.read_prompts(str(file), 2))]


@QUICK
@given(st.sampled_from(FILES), st.data())
def test_a_damaged_row_is_named_by_its_file(file, data):
    row, read = file
    refused_by_name("set.jsonl", damaged(data, row), read)


@QUICK
@given(st.data())
def test_a_damaged_review_file_is_named(six, data):
    row = {"id": six[0].id, "fields": six[0].korean, "adaptation": "none", "note": "", "done": True, "edited": "1"}
    content = {"format": review.FORMAT, "dataset": review.hash_drafts(six), "reviewer": "민지", "rows": [row]}
    refused_by_name("민지.json", damaged(data, content), lambda file: merging.merge_reviews(six, [file]))


read_once = functools.cache(read_task_rows)


@QUICK
@given(st.sampled_from(task_names()), st.data())
def test_a_damaged_benchmark_row_is_named_by_its_place(task, data):
    try:
        check_task_rows(load_task(task)["rows"], [("klue.json, row 1", damaged(data, read_once(task)[0][0]))], "klue.json")
    except ValueError as error:
        assert str(error).startswith("klue.json"), error


def refused_by_name(name, content, read):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text(json.dumps(content) + "\n", encoding="utf-8")
        try:
            read(file)
        except ValueError as error:
            assert name in str(error) and len(str(error)) < 1000, error
