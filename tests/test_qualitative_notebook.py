"""Notebook 06 with a judge and with raters' files: who said what reaches figures and metrics."""

import json
import subprocess

import pytest
from test_people import exported, for_model

from blossom.common import paths
from blossom.preference import people, prompts
from tests.server import FakeServer

ANSWER = "답변입니다."


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    asked = prompts.read_prompts("authored-prompts", 3)
    answers = [prompt | {"model": model, "answer": ANSWER} for model in ("base", "other") for prompt in asked]
    for name, seed in (("good", 0), ("of-another-batch", 9)):
        batch = people.make_batch(answers, raters=["가람"], repeats=1, seed=seed)
        paths.write_json(outputs / "sent" / f"{name}.json", exported(batch, "가람", for_model(batch, "base")))
    folder = paths.stage_folder(str(outputs), "smoke", "base", "06_qualitative_eval")
    paths.write_text(folder / "figures" / "figure4_people.png", "of an earlier run")
    server = FakeServer(lambda body, n: ANSWER if len(body["messages"]) == 1 else "A is significantly better")
    own = {"recipe": "base", "compare_with": "other", "served": [f"{name}@{server.url}" for name in ("base", "other")]}
    own |= {"prompts_per_language": 3, "raters": ["가람"], "rater_repeats": 1, "rating_files": [str(outputs / "sent")]}
    own |= {"outputs": str(outputs), "judge_url": server.url, "judge_examples": 3}
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
