"""Notebook 06 with a judge and with raters' files, on tiny random models: who said what reaches figures and metrics."""

import json
import subprocess

import pytest
from test_people import exported, for_model

from blossom.common import params, paths
from blossom.common.server import ReplyStore
from blossom.generation.answers import stored_answers
from blossom.models.loading import pick_dtype
from blossom.preference import people
from blossom.preference import prompts as prompt_sets
from tests.server import FakeServer

CHANGED = {
    "compare_with": "tiny-sentencepiece",
    "prompts_per_language": 3,
    "new_tokens": 6,
    "raters": ["가람"],
    "rater_repeats": 1,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(the run's folder, its notebook): a judge that always says A, one good file of a rater and one of another batch."""
    outputs = tmp_path_factory.mktemp("outputs")
    p = params.effective_params("06_qualitative_eval", "smoke", "base", outputs=str(outputs), **CHANGED)
    folder = paths.stage_folder(p.outputs, "smoke", "base", "06_qualitative_eval")
    asked = prompt_sets.read_prompts(p.prompts, p.prompts_per_language)
    sampling = {n: getattr(p, n) for n in ("new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed")}
    local = {"template": p.template, "dtype": pick_dtype(p.precision), "batch_size": p.decoding_batch}
    answers, kept = [], ReplyStore(folder / "answers")
    for name, source in (("base", p.base_model), (p.compare_with, p.compare_with)):
        texts = stored_answers(source, [a["prompt"] for a in asked], store=kept, **local, **sampling)
        answers += [a | {"model": name, "answer": text} for a, text in zip(asked, texts, strict=True)]
    batch = people.make_batch(answers, raters=p.raters, repeats=p.rater_repeats, seed=p.seed)
    sent = outputs / "sent"
    for name, seed in (("good", p.seed), ("other", 9)):
        own = people.make_batch(answers, raters=p.raters, repeats=p.rater_repeats, seed=seed)
        paths.write_json(sent / f"{name}.json", exported(own, "가람", for_model(batch, "base")))
    paths.write_text(folder / "figures" / "figure4_people.png", "of an earlier run")
    server = FakeServer(lambda body, n: "A is significantly better")
    own = CHANGED | {"recipe": "base", "outputs": str(outputs), "rating_files": [str(sent)], "judge_url": server.url}
    own["judge_examples"] = 3
    layers = ["-f", "params/scales/smoke.yaml", "-y", json.dumps(own, ensure_ascii=False)]
    command = ["papermill", "notebooks/06_qualitative_eval.ipynb", str(outputs / "out.ipynb"), "--cwd", ".", *layers]
    ran = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    server.stop()
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder, (outputs / "out.ipynb").read_text(encoding="utf-8")


def test_a_rater_and_a_judge_reach_the_figures_and_the_metrics(done):
    folder, book = done
    metrics = paths.read_json(folder / "metrics.json")
    assert metrics["figures"] == ["figure2", "figure3", "figure5_people", "figure5_judge"]
    assert all((folder / "figures" / f"{name}.png").stat().st_size > 5000 for name in metrics["figures"])
    assert not (folder / "figures" / "figure4_people.png").exists()
    assert metrics["people"]["files"] == {"taken": 1, "refused": 1} and "of another batch" in book
    people_said = [row for row in metrics["preference"] if row["source"] == "people"]
    assert [(row["language"], row["win"]) for row in people_said] == [("ko", 1.0), ("en", 1.0)]
    assert list((folder / "raters").rglob("rate-가람.html"))


def test_a_judge_that_always_says_a_decides_nothing(done):
    judge = paths.read_json(done[0] / "metrics.json")["judge"]
    assert judge["model"] == "m" and (judge["win"], judge["tie"], judge["loss"], judge["flips"]) == (0, 0, 0, 6)
    assert judge["examples"] == 3 and judge["obeyed"] == 0 and judge["probes"] == 2 and judge["sent"] <= 17
    by_place = {row["source"]: row["first"] for row in paths.read_json(done[0] / "metrics.json")["position"]}
    assert by_place["m"] == 1.0


def test_every_answer_was_kept_and_none_decoded_again(done):
    assert "Loading weights" not in done[1]
