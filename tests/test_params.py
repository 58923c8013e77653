import shlex
from dataclasses import asdict, fields

import nbformat
import pytest
from papermill.inspection import _infer_parameters
from papermill.iorw import load_notebook_node

from blossom.common import params, paths, runs, stages

SCALES = sorted(f.stem for f in (paths.ROOT / "params/scales").glob("*.yaml"))
RECIPES = sorted(f.stem for f in (paths.ROOT / "params/recipes").glob("*.yaml"))


def notebook(stage):
    return paths.ROOT / "notebooks" / f"{stage}.ipynb"


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_shipped_yaml_fits_every_notebook_it_reaches(scale, recipe):
    for stage in params.read_recipe(recipe).stages:
        p = params.effective_params(stage, scale, recipe)
        assert (p.scale, p.recipe) == (scale, recipe)


@pytest.mark.parametrize("name", SCALES + RECIPES)
def test_a_file_says_its_own_name(name):
    values = params.read_params((params.scale_file if name in SCALES else params.recipe_file)(name))
    assert values["scale" if name in SCALES else "recipe"] == name


def test_the_issue_names_every_scale_and_recipe():
    assert set(SCALES) >= {"smoke", "laptop", "llama2-7b", "llama2-13b"}
    assert set(RECIPES) >= {"base", "base-koSFT", "base-ko", "blossom-ko", "blossom-bi", "blossom-bi-koSFT"}
    assert set(RECIPES) >= {"blossom-bi-biSFT", "cross-lingual"}


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_notebook_shows_every_parameter_with_the_default_of_its_dataclass(stage):
    cls = stages.STAGES[stage]
    shown = {q.name: q for q in _infer_parameters(load_notebook_node(str(notebook(stage))))}
    assert set(shown) == {f.name for f in fields(cls)}
    namespace = {}
    cell = next(c for c in nbformat.read(notebook(stage), 4).cells if "parameters" in c.metadata.get("tags", []))
    exec(cell.source, namespace)
    assert params.collect_params(cls, namespace) == cls()
    assert all(q.help for q in shown.values()), "papermill --help-notebook shows a line for each"


@pytest.mark.parametrize("stage", stages.STAGES)
def test_laptop_is_what_a_notebook_does_by_itself(stage):
    cls = stages.STAGES[stage]
    assert params.effective_params(stage, "laptop", cls().recipe) == cls()


@pytest.mark.parametrize("stage", stages.STAGES)
def test_notebooks_are_committed_clean(stage):
    book = nbformat.read(notebook(stage), 4)
    assert book.metadata.kernelspec.name == "python3"
    assert not [c for c in book.cells if c.cell_type == "code" and (c.outputs or c.execution_count)]


def test_names_of_other_notebooks_and_of_jupyter_pass():
    given = {"In": [""], "Out": {}, "_i1": "x", "new_tokens": 9, "seed": 3, "exit": object()}
    assert params.collect_params(stages.VocabMerge, given).seed == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2e-4", r"learning_rate: expected float, found str '2e-4' \(YAML reads 2e-4 as text: write 2.0e-04"),
        ("fast", "learning_rate: expected float, found str 'fast'$"),
        (True, "learning_rate: expected float, found bool"),
        (float("nan"), "learning_rate: expected a finite number"),
        (-1.0, "learning_rate: expected 0.0 to 1.0, found -1.0"),
        (None, "learning_rate: expected float, found NoneType"),
    ],
)
def test_wrong_values_name_the_parameter(value, message):
    with pytest.raises(ValueError, match=message):
        params.build_params(stages.BilingualPretraining, {"learning_rate": value})


def test_whole_numbers_serve_as_floats_but_not_the_reverse():
    assert params.build_params(stages.KoreanLimaSFT, {"epochs": 3}).epochs == 3.0
    with pytest.raises(ValueError, match="block_size: expected int, found float"):
        params.build_params(stages.BilingualPretraining, {"block_size": 256.0})


def test_a_stage_starts_from_the_nearest_model_of_its_line():
    assert params.starting_stage("blossom-bi", "02_vocab_merge") is None
    assert params.starting_stage("blossom-bi", "03_bilingual_pretraining") == ("blossom-bi", "02_vocab_merge")
    assert params.starting_stage("blossom-bi-biSFT", "04_korean_lima_sft") == ("blossom-bi", "03_bilingual_pretraining")
    assert params.starting_stage("blossom-bi-biSFT", "05_benchmark_eval") == ("blossom-bi-biSFT", "04_korean_lima_sft")
    assert params.starting_stage("base-ko", "03_bilingual_pretraining") is None


@pytest.mark.parametrize("value", [{"a": -1}, {"a": "1"}, {"a": True}, {"": 1.0}, {3: 1.0}, {"a": float("inf")}])
def test_weights_are_numbers_from_0_up(value):
    with pytest.raises(ValueError, match="source_weights: expected 'name: number'"):
        params.build_params(stages.BilingualPretraining, {"source_weights": value})


def test_weights_keep_their_names():
    assert params.build_params(stages.BilingualPretraining, {"source_weights": {"aligned-ko": 2}}).source_weights == {
        "aligned-ko": 2.0
    }


def test_a_scale_typed_into_a_notebook_says_what_it_does_not_take(capsys, monkeypatch):
    monkeypatch.delenv("BLOSSOM_BATCH", raising=False)
    typed = {"scale": "smoke", "recipe": "blossom-ko", "block_size": 128}
    params.collect_params(stages.BilingualPretraining, typed)
    told = capsys.readouterr().out
    assert "other values for" in told and "base_model" in told and "korean_share" in told
    assert "block_size" not in told, "what was typed is meant"
    p = params.collect_params(stages.BilingualPretraining, typed | params.read_layers("smoke", "blossom-ko"))
    assert p == params.effective_params("03_bilingual_pretraining", "smoke", "blossom-ko")
    assert not capsys.readouterr().out, "what the files say is taken"
    params.collect_params(stages.VocabMerge, {"scale": "lapotp"})
    assert "lapotp.yaml: no such parameter file; there are: laptop" in capsys.readouterr().out


def finished(p, recipe, stage, **changed):
    """The folder of a finished earlier run, with its parameters and nothing else."""
    folder = paths.stage_folder(p.outputs, p.scale, recipe, stage)
    made = asdict(params.effective_params(stage, p.scale, recipe)) | changed
    paths.write_json(folder / "params.yaml", made)  # JSON is YAML
    paths.write_json(folder / "metrics.json", {})
    paths.write_json(folder / "manifest.json", {"outputs": {"params.yaml": paths.hash_path(folder / "params.yaml")}})
    return folder


def test_an_earlier_run_of_another_base_is_refused_and_of_other_texts_told(smoke, capsys):
    stage = "03_bilingual_pretraining"
    p = smoke(stage, base_model="my/model")
    folder = finished(p, "blossom-bi", "02_vocab_merge")
    with pytest.raises(params.ParameterError, match="base_model: .*02_vocab_merge .*'tiny-.*'my/model'"):
        runs.require_model(p, stage)
    assert runs.require_model(smoke(stage), stage) == folder / "model"
    assert not capsys.readouterr().out
    runs.require_model(smoke(stage, korean_texts=["my.txt"]), stage)
    assert "note: korean_texts: blossom-bi/02_vocab_merge was made with ['smoke-ko'], here" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["03_bilingual_pretraining", "06_qualitative_eval"])
def test_a_missing_earlier_run_names_the_command_with_the_notebooks_base(smoke, stage):
    p = smoke(stage, base_model="my/model")
    with pytest.raises(runs.MissingRun) as told:
        runs.require_model(p, stage)
    start = params.starting_stage("blossom-bi", stage)
    words = shlex.split(str(told.value).splitlines()[-1])
    assert words[-1] == str(paths.stage_folder(p.outputs, p.scale, *start) / "manifest.json")
    assert 'set={"base_model": "my/model"}' in words, "only what differs from the files is set"


def test_run_all_a_second_time_meets_the_first_ones_variables(monkeypatch):
    """A kernel keeps what earlier cells defined; only what the parameter cell, as last run, assigns is a parameter."""
    cell, call = "scale: str = 'laptop'\nadded_pieces: int = 4000", "p = params.collect_params(stages.VocabMerge, globals())"
    wrong, body = cell.replace("added", "aded"), "size = 3\ntold = {}"
    kept = {"scale": "laptop", "added_pieces": 9, "aded_pieces": 9, "size": 3, "told": {}}
    later = kept | {"In": ["", wrong, call, cell, call, body, "%broken", cell, "korean_share = 0.5", call]}
    assert params.collect_params(stages.VocabMerge, later).added_pieces == 9
    for slip in ([cell, call, wrong, call], [cell, "# Parameters\naded_pieces = 9", call], [cell, call, wrong, body, call]):
        with pytest.raises(params.ParameterError, match="no parameter is called 'aded_pieces'; did you mean 'added_pieces'"):
            params.collect_params(stages.VocabMerge, kept | {"In": ["", *slip]})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("added_pieces", (2, 0), r"expected int, found tuple \(2, 0\)"),  # added_pieces: int = 2,000
        ("added_pieces", "2000", r"found str '2000' \(a number in quotation marks is text: leave them out\)"),
        ("korean_texts", "my.txt", r"expected list, found str 'my.txt' \(write \['my.txt'\]\)"),
    ],
)
def test_slips_of_the_parameter_cell_are_told_with_their_cure(name, value, message):
    with pytest.raises(params.ParameterError, match=f"{name}: .*{message}"):
        params.collect_params(stages.VocabMerge, {name: value})
