"""The paper's figures from verdicts, preference beside language, and examples of wins and losses."""

import pandas as pd

from blossom.preference import examples, measures, panels, people, verdicts

SAID = {"ko": "네, 한국어 답변입니다.", "en": "Yes, an English answer."}
MODELS = ("x-biSFT", "x-koSFT", "base")
ANSWERS = [  # all are in the prompt's language, but for those of the model taught in Korean alone
    {"model": m, "prompt_id": f"p{n}", "kind": "code", "language": k, "prompt": "?"}
    | {"answer": SAID["ko" if m == "x-koSFT" else k]}
    for n in range(6)
    for k in SAID
    for m in MODELS
]
PAIRS = list(people.make_batch(ANSWERS, [(MODELS[0], other) for other in MODELS[1:]]).pairs)


def table(winner, source="people", rater="r"):
    """Verdicts on all pairs; `winner(pair, order)` is a, b or tie."""
    said = {"rater": rater, "source": source}
    orders = "a" if source == "people" else "ab"
    return verdicts.make_verdicts([p | said | {"winner": winner(p, o), "first_shown": o} for p in PAIRS for o in orders])


def drawn(*tables):
    one = verdicts.settle_verdicts(pd.concat(tables, ignore_index=True))
    return {p.name: p for p in panels.make_panels(one, MODELS[0], measures.measure_answers(ANSWERS))}


def test_people_and_judge_fill_the_papers_four_figures():
    got = drawn(table(lambda pair, o: "a"), table(lambda pair, o: "b", "referee", "referee"))
    assert list(got) == ["figure2", "figure3", "figure4_people", "figure4_judge", "figure5_people", "figure5_judge"]
    assert list(got["figure2"].shares.model_b) == ["base"] and set(got["figure2"].shares.language) == {"ko"}
    fourth = got["figure4_judge"].shares
    assert list(fourth.language) == ["ko", "en"] and set(fourth.model_b) == {"x-koSFT"}
    assert set(got["figure5_judge"].shares.language) == {"en"}
    assert "referee" in got["figure3"].title and "people" in got["figure5_people"].title
    assert "English answers: 100% against 0%" in got["figure4_people"].labels[1]
    assert got["figure2"].labels[0].startswith("beats base") and got["figure3"].labels[0].startswith("loses to base")


def test_a_lead_within_its_interval_is_not_claimed():
    led = table(lambda pair, o: "a" if int(pair["prompt_id"][1]) % 3 else "b")
    assert drawn(led)["figure2"].labels[0].startswith("not told apart from base")


def test_preference_beside_language_says_which_answers_were_in_the_right_one():
    one = table(lambda pair, o: "a" if pair["language"] == "en" else "tie")
    got = measures.compare_languages(one, PAIRS).set_index(["language", "model_b"])
    confused = got.loc["en", "x-koSFT"]
    assert (confused.in_language, confused.n, confused.win, confused.tie, confused.loss) == ("A alone", 6, 6, 0, 0)
    assert got.loc["ko", "base"].in_language == "both" and got.loc["ko", "base"].tie == 6


def test_examples_are_wins_then_losses_with_who_said_so():
    one = table(lambda pair, o: {"p0": "a", "p1": "b"}.get(pair["prompt_id"], "tie"))
    shown = examples.choose_examples(one, PAIRS, each=2)
    assert [pair["prompt_id"] for pair in shown] == ["p0"] * 4 + ["p1"] * 4
    html = examples.show_pairs(shown[:1]).to_html()
    assert "x-biSFT · Korean · preferred by r" in html and html.count("preferred by") == 1
