import ast
import shlex
from dataclasses import asdict, fields

import nbformat
import pytest
from papermill.inspection import _infer_parameters
from papermill.iorw import load_notebook_node

from blossom.batch import plan
from blossom.common import params, paths, runs, stages
from blossom.training.__main__ import launch_training
from tests.cases import read_cases

CASES = read_cases(__file__)
SCALES = sorted(f.stem for f in (paths.ROOT / "params/scales").glob("*.yaml"))
RECIPES = sorted(f.stem for f in (paths.ROOT / "params/recipes").glob("*.yaml"))


def code_cells(stage):
    cells = [c for c in nbformat.read(paths.ROOT / "notebooks" / f"{stage}.ipynb", 4).cells if c.cell_type == "code"]
    own = next(c for c in cells if "parameters" in c.metadata.get("tags", []))
    return own, [c for c in cells if c is not own]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_shipped_yaml_fits_every_notebook_it_reaches(scale, recipe):
    for stage in params.read_recipe(recipe).stages:
        p = params.effective_params(stage, scale, recipe)
        assert (p.scale, p.recipe) == (scale, recipe)


@pytest.mark.parametrize("name", SCALES + RECIPES)
def test_a_file_says_its_own_name_and_repeats_no_default(name):
    kind = "scale" if name in SCALES else "recipe"
    values = params.read_params((params.scale_file if kind == "scale" else params.recipe_file)(name))
    assert values.pop(kind) == name
    # a recipe may put back what a scale changes
    changed = {n for s in SCALES for n in params.read_params(params.scale_file(s))} if kind == "recipe" else set()
    for cls in (*stages.STAGES.values(), stages.PlanAssumptions):
        repeated = [n for n, v in asdict(cls()).items() if n in values and values[n] == v and n not in changed]
        assert repeated == [], f"{name}: these are the defaults of {cls.__name__}"


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_notebook_shows_every_parameter_with_default_and_help_of_its_class(stage):
    cls, cell = stages.STAGES[stage], code_cells(stage)[0]
    exec(cell.source, namespace := {})
    assert params.collect_params(cls, namespace) == cls()
    shown = _infer_parameters(load_notebook_node(str(paths.ROOT / "notebooks" / f"{stage}.ipynb")))
    assert {q.name: q.help for q in shown} == {f.name: f.default.description for f in fields(cls)}


@pytest.mark.parametrize("stage", stages.STAGES)
def test_laptop_is_what_a_notebook_does_by_itself(stage):
    assert params.effective_params(stage, "laptop", (usual := stages.STAGES[stage]()).recipe) == usual


@pytest.mark.parametrize(("name", "value", "message"), CASES["wrong_values"])
def test_a_wrong_value_names_the_parameter_what_was_expected_and_found(name, value, message):
    with pytest.raises(params.ParameterError, match=f"^{name}: .*{message}"):
        params.collect_params(next(c for c in stages.STAGES.values() if name in c.__dataclass_fields__), {name: value})


@pytest.mark.parametrize(("slip", "meant"), [("aded_pieces", "added_pieces"), ("learning_rat", "learning_rate")])
def test_a_name_close_to_a_parameter_is_refused(slip, meant):
    with pytest.raises(params.ParameterError, match=f"'{slip}'; did you mean '{meant}'"):
        params.collect_params(stages.VocabMerge, {slip: 9})
    assert params.collect_params(stages.VocabMerge, {slip: object()}) == stages.VocabMerge(), "functions are no parameters"
    others = {"In": [""], "Out": {}, "_i1": "x", "new_tokens": 9, "seed": 3, "exit": object(), "size": 3}
    assert params.collect_params(stages.VocabMerge, others).seed == 3, "names of other notebooks and of Jupyter pass"
    assert [params.suggest_name("korean_text", value) for value in (["my.txt"], "안녕")] == ["korean_texts", None]


@pytest.mark.parametrize("stage", stages.STAGES)
def test_no_variable_of_a_notebook_is_taken_for_a_mistyped_parameter(stage):
    trees = [ast.parse(c.source) for c in code_cells(stage)[1]]
    names = {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    assert {n: near for n in names if (near := params.suggest_name(n))} == {}


def test_values_that_would_be_read_otherwise_than_meant_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "scale_file", lambda scale: tmp_path / "mine.yaml")
    for text, told in CASES["refused_files"]:
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(params.ParameterError, match=told):
            params.read_layers("mine", "blossom-bi")
    with pytest.raises(params.ParameterError, match="scale cannot be set: the target"):
        params.parse_overrides({"scale": "laptop"})
    for given, read in CASES["overrides"]:
        assert params.parse_overrides(given) == read
    assert params.build_params(stages.KoreanLimaSFT, {"epochs": 3}).epochs == 3.0, "whole numbers serve as floats"
    assert params.build_params(stages.BilingualPretraining, {"source_weights": {"a": 2}}).source_weights == {"a": 2.0}


def test_a_scale_typed_into_a_notebook_says_how_to_take_its_values(capsys, monkeypatch):
    monkeypatch.delenv("BLOSSOM_BATCH", raising=False)
    typed = {"scale": "smoke", "recipe": "blossom-ko"}
    assert params.collect_params(stages.BilingualPretraining, typed).base_model == stages.BilingualPretraining().base_model
    assert "params.read_layers(scale, recipe)" in capsys.readouterr().out
    p = params.collect_params(stages.BilingualPretraining, typed | params.read_layers("smoke", "blossom-ko"))
    assert p == params.effective_params("03_bilingual_pretraining", "smoke", "blossom-ko")


@pytest.mark.parametrize(("recipe", "stage", "told"), CASES["stages"])
def test_a_stage_that_a_recipe_does_not_have_is_refused_in_a_notebook_a_launch_and_the_batch(recipe, stage, told, tmp_path):
    words, here = [stage, "--set", f"recipe={recipe}"], plan.Plan(str(tmp_path))
    asked = [lambda: launch_training(words)] if stage.startswith("03") else []
    asked += [lambda: here.effective(plan.RunName(str(tmp_path), "smoke", recipe, stage))]
    for run in [lambda: params.collect_params(stages.STAGES[stage], {"recipe": recipe}), *asked]:
        with pytest.raises(params.ParameterError, match=f"^recipe: {recipe} has no stage {stage} .*: set recipe to {told}"):
            run()
    assert params.collect_params(stages.STAGES["07_report"], {"recipe": "base"}), "it reads the runs of others"


@pytest.mark.parametrize(("recipe", "stage", "start"), CASES["starts"])
def test_a_stage_starts_from_the_nearest_model_of_its_line(recipe, stage, start):
    assert params.starting_stage(recipe, stage) == (start and tuple(start))


def test_an_earlier_run_of_other_texts_is_told(smoke, capsys):
    stage = "03_bilingual_pretraining"
    (earlier := runs.Run(smoke("02_vocab_merge"), "02_vocab_merge")).finish({})
    capsys.readouterr()
    assert runs.require_model(smoke(stage), stage) == earlier.folder / "model"
    assert not capsys.readouterr().out
    runs.require_model(smoke(stage, korean_texts=["my.txt"]), stage)
    assert "note: korean_texts: blossom-bi/02_vocab_merge was made with ['smoke-ko'], here" in capsys.readouterr().out
    texts = {"korean_texts": ["smoke-ko", "other.txt"]}
    runs.Run(smoke(stage, **texts), stage).finish({})
    for name, harmless, wrong in CASES["measured"]:
        runs.require_model(smoke("05_benchmark_eval", **texts | {name: harmless}), "05_benchmark_eval")
        with pytest.raises(params.ParameterError, match=f"^{name}: .*lines that it was trained on would count as unseen"):
            runs.require_model(smoke("05_benchmark_eval", **texts | {name: wrong}), "05_benchmark_eval")
    runs.Run(smoke("04_korean_lima_sft", "blossom-bi-biSFT", **texts, heldout_lines=60), "04_korean_lima_sft").finish({})
    with pytest.raises(params.ParameterError, match="heldout_lines: blossom-bi/03_.* made with 20.* would count as unseen"):
        runs.require_model(smoke("05_benchmark_eval", "blossom-bi-biSFT", **texts, heldout_lines=60), "05_benchmark_eval")
    manifest = paths.read_json(file := earlier.home / "manifest.json")  # as if `parent` had another recipe's name before
    paths.write_json(file, manifest | {"outputs": manifest["outputs"] | {"model": "0" * 64}})
    with pytest.raises(params.ParameterError, match="/03_bilingual_pretraining was not made from the model that is now in"):
        runs.require_model(smoke("05_benchmark_eval", **texts), "05_benchmark_eval")


@pytest.mark.parametrize("stage", ["03_bilingual_pretraining", "06_qualitative_eval"])
def test_a_missing_earlier_run_names_the_command_with_the_notebooks_base(smoke, stage):
    p = smoke(stage, base_model="my/model")
    with pytest.raises(runs.MissingRun) as told:
        runs.require_model(p, stage)
    words, start = shlex.split(str(told.value).splitlines()[-1]), params.starting_stage("blossom-bi", stage)
    assert words[-1] == str(paths.stage_folder(p.outputs, p.scale, *start) / "manifest.json")
    assert 'set={"base_model": "my/model"}' in words, "only what differs from the files is set"
