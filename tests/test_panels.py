"""The paper's figures from verdicts, preference beside language, and examples of wins and losses."""

import pandas as pd
import pytest

from blossom.preference import examples, measures, panels, people, ratings, verdicts

KOREAN, ENGLISH = "네, 한국어 답변입니다.", "Yes, an English answer."
MODELS = ("x-biSFT", "x-koSFT", "base")


def answers(prompts=6):
    """Everyone answers in the prompt's language, but for the model taught in Korean alone."""
    said = {"ko": KOREAN, "en": ENGLISH}
    return [
        {"model": m, "prompt_id": f"p{n}", "kind": "code", "language": k, "prompt": "?", "answer": f"{text} {m} {n}"}
        for n in range(prompts)
        for k in ("ko", "en")
        for m in MODELS
        for text in [KOREAN if m == "x-koSFT" else said[k]]
    ]


def pairs():
    return list(people.make_batch(answers(), [(MODELS[0], other) for other in MODELS[1:]]).pairs)


def table(winner, source="people", rater="r"):
    """Verdicts on all pairs; `winner(pair, order)` is a, b or tie."""
    orders = "a" if source == "people" else "ab"
    keys = ("prompt_id", "kind", "language", "model_a", "model_b")
    rows = [
        {k: pair[k] for k in keys} | {"winner": winner(pair, o), "rater": rater, "source": source, "first_shown": o}
        for pair in pairs()
        for o in orders
    ]
    return verdicts.make_verdicts(rows)


def drawn(*tables):
    one = verdicts.settle_verdicts(pd.concat(tables, ignore_index=True))
    return {p.name: p for p in panels.make_panels(one, MODELS[0], measures.measure_answers(answers()))}


def test_people_and_judge_fill_the_papers_four_figures():
    got = drawn(table(lambda pair, o: "a"), table(lambda pair, o: "b", "referee", "referee"))
    assert set(got) == {"figure2", "figure3", "figure4_people", "figure4_judge", "figure5_people", "figure5_judge"}
    assert list(got["figure2"].shares.model_b) == ["base"] and set(got["figure2"].shares.language) == {"ko"}
    assert list(got["figure4_judge"].shares.language) == ["ko", "en"] and set(got["figure4_judge"].shares.model_b) == {
        "x-koSFT"
    }
    assert set(got["figure5_judge"].shares.language) == {"en"}
    assert all(
        "referee" in p.title if "judge" in p.name or p.figure == 3 else "people (1 rater)" in p.title for p in got.values()
    )
    assert "English answers: 100% against 0%" in got["figure4_people"].labels[1]
    assert "x-biSFT: beats base" in got["figure2"].title and "loses to base" in got["figure3"].title


def test_a_judge_that_follows_the_place_decides_nothing_in_any_figure():
    got = drawn(table(lambda pair, order: order, "referee", "referee"))
    assert set(got) == {"figure3", "figure4_judge", "figure5_judge"}
    for panel in got.values():
        assert "no pair was decided" in panel.title
        assert (panel.shares.win + panel.shares.loss == 0).all() and (panel.shares.flipped == 1).all()


def test_a_lead_within_its_interval_is_not_claimed():
    led = table(lambda pair, o: "a" if int(pair["prompt_id"][1]) % 3 else "b")
    assert "not told apart from base" in drawn(led)["figure2"].title


def test_preference_beside_language_says_which_answers_were_in_the_right_one():
    one = table(lambda pair, o: "a" if pair["language"] == "en" else "tie")
    got = measures.compare_languages(one, answers()).set_index(["language", "model_b"])
    confused = got.loc["en", "x-koSFT"]
    assert (confused.in_language, confused.n, confused.win, confused.tie, confused.loss) == ("A alone", 6, 6, 0, 0)
    assert got.loc["ko", "base"].in_language == "both" and got.loc["ko", "base"].tie == 6


def test_examples_are_wins_then_losses_with_who_said_so():
    one = table(lambda pair, o: {"p0": "a", "p1": "b"}.get(pair["prompt_id"], "tie"))
    shown, notes = examples.choose_examples(one, pairs(), each=2)
    assert [pair["prompt_id"] for pair in shown] == ["p0"] * 4 + ["p1"] * 4
    assert "preferred by r" in notes[0][0] and "preferred" not in notes[0][1] and "preferred by r" in notes[-1][1]
    wrong = [
        note[1] for pair, note in zip(shown, notes, strict=True) if (pair["model_b"], pair["language"]) == ("x-koSFT", "en")
    ]
    assert len(wrong) == 2 and all("Korean — not the prompt's language" in note for note in wrong)


def test_a_batch_is_published_in_its_own_folder_and_raters_join_it(tmp_path):
    batch = people.make_batch(answers(), raters=["a"])
    one, pages = people.publish_batch(batch, tmp_path)
    more, pages = people.publish_batch(people.make_batch(answers(), raters=["b"]), tmp_path)
    assert more.raters == ("a", "b") and [p.name for p in pages] == ["rate-a.html", "rate-b.html"]
    other, _ = people.publish_batch(people.make_batch(answers(5), raters=["b"]), tmp_path)
    assert other.raters == ("b",) and len(list(tmp_path.rglob("batch.json"))) == 2  # the earlier key is still there


def test_raters_files_are_found_in_folders_and_a_missing_one_is_shown(tmp_path):
    for name in ("2.json", "1.json", "batch.json", "note.txt"):
        (tmp_path / name).write_text("{}")
    listed = ratings.list_rating_files([str(tmp_path), str(tmp_path / "none.json"), str(tmp_path / "1.json")])
    assert [f.name for f in listed] == ["1.json", "2.json", "none.json"]
    got = ratings.merge_ratings(people.make_batch(answers(), raters=["a"]), listed)
    assert list(got.files.status) == ["refused"] * 3 and got.verdicts.empty


def test_figures_need_verdicts_on_the_model():
    with pytest.raises(ValueError, match="no verdict on model 'other'"):
        panels.make_panels(table(lambda pair, o: "a"), "other", measures.measure_answers(answers()))
