"""What holds whatever the input: laws over made-up texts, corpora, scores, verdicts and exported files.

The laws of merged tokenizers are in test_vocab, of labels in test_instructions, of blocks in test_packing, of F1 in
test_benchmark, of raters' files in test_people.
"""

import json
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blossom.benchmark import comparing
from blossom.instructions import merging, review
from blossom.instructions.readers import read_instructions
from blossom.preference import statistics, verdicts
from blossom.text.corpus import normalise_text, read_corpus
from blossom.text.leaks import fold_letters

SOME = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
whole = st.characters(exclude_categories=["Cs"])  # any character but halves of one
korean = st.text(st.sampled_from("먹는 햄버거를 공룡이\u1100\u1161\u11a8 abc.\n🙂漢"), max_size=40)
anything = st.one_of(st.text(whole, max_size=40), korean)


@SOME
@given(lines=st.lists(korean, min_size=1, max_size=40), heldout=st.integers(1, 4))
def test_no_line_is_lost_and_no_training_line_is_like_a_held_out_one(lines, heldout, tmp_path):
    file = tmp_path / "ko.txt"
    file.write_text("\n".join(line.replace("\n", " ") for line in lines), encoding="utf-8")
    texts = {"general_korean": "general-ko", "general_english": "general-en", "heldout_lines": heldout}
    p = SimpleNamespace(korean_texts=[str(file)], english_texts=["smoke-en"], **texts)
    try:
        found = read_corpus(p)
    except ValueError as error:
        assume("ko.txt" in str(error) and ("hold" in str(error) or "nothing is left" in str(error)))
        return
    read = [normalise_text(line) for line in file.read_text(encoding="utf-8").split("\n")]
    assert {*found.korean, *found.heldout_korean} <= {*read} and len(found.heldout_korean) == heldout
    guarded = {fold_letters(line) for line in found.heldout_korean + found.general_korean}
    assert not guarded & {fold_letters(line) for line in found.korean}
    removed = sum(n for reason, n in found.removed.items() if reason.startswith("korean"))
    assert len(found.korean) + heldout + removed == sum(map(bool, read))


def answered(right):
    return [{"id": n, "task": "t", "acc": float(r), "label": 1, "choice": int(r)} for n, r in enumerate(right)]


TASK = SimpleNamespace(name="t", settings={"score": "acc"}, is_macro=True)


@SOME
@given(both=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_difference_turns_its_sign_with_the_models_and_a_model_does_not_differ_from_itself(both):
    one, two = (answered(x) for x in zip(*both, strict=True))
    there, back = (comparing.compare_scores([TASK], a, b, 200).iloc[0] for a, b in ((one, two), (two, one)))
    assert there.difference == pytest.approx(-back.difference) and there.p == back.p
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.low <= there.high
    same = comparing.compare_scores([TASK], one, one, 200).iloc[0]
    assert (same.difference, same.low, same.high, same.p, same.significant) == (0, 0, 0, 1, False)


given_verdicts = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", "tie"])), min_size=1, max_size=40)


def judged(pairs, turned=False):
    """A verdict table of one rater's verdicts on two models; `turned` names the models the other way round."""
    a, b = ("y", "x") if turned else ("x", "y")
    other = {"a": "b", "b": "a", "tie": "tie"} if turned else {}
    shared = {"kind": "k", "language": "ko", "source": "s", "first_shown": "a", "look": 1, "model_a": a, "model_b": b}
    rows = [{"prompt_id": f"p{n}", "winner": other.get(w, w), "rater": f"r{i}"} | shared for i, (n, w) in enumerate(pairs)]
    return verdicts.make_verdicts(rows)


@settings(SOME, max_examples=20)
@given(pairs=given_verdicts, seed=st.randoms())
def test_neither_the_order_of_verdicts_nor_of_the_models_changes_what_they_say(pairs, seed):
    row = statistics.summarize_verdicts(judged(pairs), samples=20).iloc[0]
    shuffled = list(pairs)
    seed.shuffle(shuffled)
    again = statistics.summarize_verdicts(judged(shuffled), samples=20).iloc[0]
    turned = statistics.summarize_verdicts(judged(pairs, turned=True), samples=20).iloc[0]
    assert (row.win, row.tie, row.loss) == pytest.approx((again.win, again.tie, again.loss))
    assert (row.win, row.tie, row.loss) == pytest.approx((turned.loss, turned.tie, turned.win))


@SOME
@given(texts=st.lists(st.text(whole, min_size=1).filter(str.strip), min_size=6, max_size=6), note=st.text(whole))
def test_whatever_a_reviewer_writes_is_what_the_data_set_holds(six, tmp_path, texts, note):
    listed = [
        {"id": d.id, "fields": d.korean | {"output": t}, "adaptation": "none", "note": note, "done": True, "edited": "1"}
        for d, t in zip(six, texts, strict=True)
    ]
    content = {"format": review.FORMAT, "dataset": review.hash_drafts(six), "reviewer": "민지", "rows": listed}
    (tmp_path / "민지.json").write_text(json.dumps(content), encoding="utf-8")  # as a browser writes it: \\u escapes
    merged = merging.merge_reviews(six, [tmp_path / "민지.json"])
    merging.write_merged(merged, tmp_path / "set.jsonl")
    read = read_instructions(str(tmp_path / "set.jsonl"), "ko")
    expected = [unicodedata.normalize("NFC", t.replace("\r\n", "\n")).strip() for t in texts]
    assert [e.messages[-1]["content"] for e in read] == expected
