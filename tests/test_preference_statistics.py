"""What verdicts add up to, on tables whose answer is known: by hand or by simulation."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from blossom.common import figures
from blossom.preference import verdicts
from tests.cases import read_cases

CASES = read_cases(__file__)


def table(*rows, **columns):
    keys = ("prompt_id", "model_a", "model_b", "winner", "rater")
    same = {"kind": "code", "language": "ko", "first_shown": "a"} | columns
    return verdicts.make_verdicts([dict(zip(keys, row, strict=True)) | same for row in rows])


def simulated(lead, prompts, raters, seed=0, first=0.0):
    """Verdicts of people on models x and y; x wins or ties so that win + tie/2 is the logistic function of `lead`.

    A rater repeats the prompt's common verdict half of the time; `first` shifts the log-odds to the answer shown first.
    """
    rng, shape = np.random.default_rng(seed), (prompts, raters)
    sides = rng.integers(2, size=shape)
    p = 1 / (1 + np.exp(-(lead + first * (1 - 2 * sides))))
    t = 0.6 * np.minimum(p, 1 - p)
    u = np.where(rng.random(shape) < 0.5, rng.random((prompts, 1)), rng.random(shape))
    won = np.where(u < p - t / 2, 0, np.where(u < p + t / 2, 1, 2))
    prompt, rater = (i.ravel() for i in np.indices(shape))
    rows = {"prompt_id": prompt, "kind": "code", "language": "ko", "model_a": "x", "model_b": "y"}
    rows |= {"winner": np.array(["a", "tie", "b"])[won.ravel()], "rater": np.char.add("r", rater.astype(str))}
    return verdicts.make_verdicts(pd.DataFrame(rows | {"first_shown": np.array(["a", "b"])[sides.ravel()]}))


@pytest.mark.parametrize(("name", "wrong"), [("winner", "A"), ("first_shown", "left"), ("look", 3), ("rater", None)])
def test_a_wrong_value_is_named_with_its_row_and_column(name, wrong):
    good = {"prompt_id": 1, "kind": "k", "language": "ko", "model_a": "x", "model_b": "y"}
    good |= {"winner": "a", "rater": "r", "first_shown": "a", "look": 1}
    with pytest.raises(ValueError, match=f"row 1: {name}: expected .*, found {wrong or 'nan'}"):
        verdicts.make_verdicts([good, good | {name: wrong}])
    with pytest.raises(ValueError, match="kind"):
        verdicts.make_verdicts([{"prompt_id": 1}])


def test_shares_are_counted_over_drop_second_looks():
    got = pd.concat([table(*CASES["shares"]), table((1, "x", "y", "b", "r"), look=2)])
    (row,) = verdicts.summarize_verdicts(got.assign(faulty=[True, False, True, True, True])).to_dict("records")
    assert (row["win"], row["tie"], row["loss"], row["rate"]) == (0.5, 0.25, 0.25, 0.625)
    assert (row["prompts"], row["verdicts"], row["raters"], row["won_faulty"]) == (4, 4, 1, 1)
    assert row["rate_low"] < 0.625 < row["rate_high"]


def test_95_percent_intervals_cover_the_truth_in_93_to_97_percent_of_1000_simulations():
    prompts, lead = 64, 1.2
    runs = simulated(lead, 1000 * prompts, raters=2, seed=66).assign(run=lambda table: table.prompt_id // prompts)
    got = verdicts.summarize_verdicts(runs, by=["run"], samples=500)
    p = 1 / (1 + np.exp(-lead))
    t = 0.3 * 2 * min(p, 1 - p)
    assert len(got) == 1000
    for name, truth in {"rate": p, "win": p - t / 2, "tie": t, "loss": 1 - p - t / 2}.items():
        assert 0.93 <= ((got[f"{name}_low"] <= truth) & (truth <= got[f"{name}_high"])).mean() <= 0.97, name


def test_a_model_that_wins_every_prompt_still_has_an_interval_and_prompts_won_and_lost_on_both_are_counted():
    (row,) = verdicts.summarize_verdicts(table(*[(n, "x", "y", "a", "r") for n in range(20)])).to_dict("records")
    assert row["win"] == row["win_high"] == 1 and 0.7 < row["win_low"] < 0.98
    got = verdicts.count_won_both(table(*CASES["won_both"]), "x").iloc[0]
    assert (got.n, got.won_both, got.lost_both) == (5, 2, 1)


def test_a_preference_for_the_first_answer_is_seen_and_a_fair_rater_is_cleared():
    biased = verdicts.measure_position_bias(simulated(0.0, 300, 1, first=1.0)).iloc[0]
    fair = verdicts.measure_position_bias(simulated(1.0, 300, 1)).iloc[0]
    assert biased.first_low > 0.55 and fair.first_low < 0.5 < fair.first_high
    ties = verdicts.measure_position_bias(table((1, "x", "y", "tie", "r"))).iloc[0]
    assert ties.decided == 0 and np.isnan(ties["first"])


def test_a_judge_that_always_prefers_the_first_answer_has_a_bias_and_one_order_alone_is_no_verdict():
    both = pd.concat([table((1, "x", "y", s, "j"), source="j", first_shown=s) for s in "ab"])
    assert verdicts.measure_position_bias(both)["first"][0] == 1  # what both orders decide: test_judges.py
    assert list(verdicts.settle_verdicts(both).winner) == ["tie"]
    assert verdicts.settle_verdicts(both.iloc[[0, 0]]).empty, "twice in one order"
    assert verdicts.settle_verdicts(both.iloc[:1]).empty and verdicts.settle_verdicts(verdicts.make_verdicts([])).empty


def test_agreement_between_people_and_with_a_judge_by_hand():
    said = {"r": "aabbtt", "s": "aabtta"}  # 4 of 6 alike, 2 differ by a tie
    rows = [(n, "x", "y", {"t": "tie"}.get(w, w), rater) for rater, words in said.items() for n, w in enumerate(words)]
    judge = table(*[(n, "x", "y", w, "j") for n, w in enumerate(["a", "a", "b", "b", "tie", "a"])], source="j")
    got = verdicts.compare_raters(pd.concat([table(*rows), judge])).set_index(["rater_1", "rater_2"])
    assert tuple(got.loc["r", "s"]) == ("people", 6, pytest.approx(4 / 6), pytest.approx(5 / 6))
    assert got.loc["r", "j"].among == "judge and people" and got.loc["s", "j"].n == 6


def test_krippendorffs_alpha_of_a_worked_example():
    # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), B: nominal data, two observers, no missing data;
    # his five values are more than our three, so 10 units with o_ab = 4, o_aa = 6, o_bb = 10, worked out as he does
    pairs = ["aa"] * 3 + ["bb"] * 5 + ["ab"] * 2
    rows = [(n, "x", "y", w, rater) for n, pair in enumerate(pairs) for rater, w in zip("rs", pair, strict=True)]
    (row,) = verdicts.measure_alpha(table(*rows)).to_dict("records")
    assert row["alpha"] == pytest.approx(1 - (20 - 1) * 4 / (2 * 8 * 12))  # n = 20, n_a = 8, n_b = 12
    assert row["alpha_low"] < row["alpha"] < row["alpha_high"] and (row["pairs"], row["raters"]) == (10, 2)
    same = table(*[(n, "x", "y", "a", r) for n in range(4) for r in "rs"])
    assert np.isnan(verdicts.measure_alpha(same).alpha[0]), "it cannot be measured, and is not perfect"
    assert verdicts.compare_raters(same[same.rater == "r"]).empty and verdicts.measure_alpha(same[same.rater == "r"]).empty


def test_consistency_is_the_share_of_equal_verdicts_on_pairs_seen_twice():
    first = table(*[(n, "x", "y", w, "r") for n, w in enumerate(["a", "a", "tie", "a", "b"])])
    again = table(*[(n, "x", "y", w, "r") for n, w in enumerate(["a", "b", "a", "a"])], look=2, first_shown="b")
    got = verdicts.compare_looks(pd.concat([first, again])).iloc[0]
    assert (got.n, got["same"]) == (4, 1 / 2)


def test_the_bars_show_what_the_table_says():
    said = pd.concat([simulated(0.5, 40, 2, seed).assign(model_b=name) for seed, name in enumerate("yzw")])
    shares = verdicts.summarize_verdicts(said)
    with figures.house_style():
        _, axis = plt.subplots()
        figures.plot_preference(axis, shares, [f"{b} 한국어" for b in shares.model_b])
    widths = np.array([bar.get_width() for bar in axis.patches]).reshape(4, -1)  # win, tie, flipped, loss x rows
    assert widths.sum(0) == pytest.approx(100) and widths[0] == pytest.approx(100 * shares.win)
    assert sum("40 prompts" in t.get_text() for t in axis.texts) == len(shares)
    plt.close("all")
