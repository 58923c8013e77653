import json
from dataclasses import replace

import pytest

from blossom.common import paths
from blossom.instructions import checks, readers, review, translation
from tests.cases import read_cases

CASES = read_cases(__file__)


def test_files_of_several_reviewers_become_one_data_set(six, exported, tmp_path):
    a, b, c = (d.id for d in six[:3])
    output = "새 답변입니다.\u2028\x85🙂 \\u0041"  # whatever a reviewer writes comes back
    one = exported("민지", {a: {"fields": {"output": output}, "adaptation": "ne_change", "note": "이름을 바꿈"}, b: {}})
    merged = review.merge_reviews(six, [one, exported("서준", {c: {"adaptation": "topic_change"}, b: {"note": "좋음"}})])
    assert list(merged.rows) == [a, b, c] and merged.undone == [d.id for d in six[3:]] and merged.doubled == 1
    review.write_merged(merged, tmp_path / "ko.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "ko.jsonl").read_text(encoding="utf-8").strip().split("\n")]
    assert [r["reviewer"] for r in rows] == ["민지", "민지, 서준", "서준"] and len(rows[1]["history"]) >= 1
    read = readers.read_instructions(str(tmp_path / "ko.jsonl"), "ko")
    assert [e.note for e in read] == ["이름을 바꿈", "서준: 좋음", ""] and read[0].output == output
    assert [(e.source_id, e.adaptation) for e in read] == [(a, "ne_change"), (b, "none"), (c, "topic_change")]
    assert [translation.example_fields(e) for e in read] == [merged.rows[e.source_id].fields for e in read]


def test_reviewers_who_differ_are_a_conflict_until_a_third_person_settles_it(six, exported, tmp_path):
    a, b = six[0].id, six[1].id
    late = {"fields": {"output": "둘"}, "edited": "2026-11-20T02:00:00Z"}
    one = exported("민지", {a: {"fields": {"output": "하나"}}, b: {}})
    two = exported("서준", {a: late, b: {"adaptation": "ne_change"}})
    merged = review.merge_reviews(six, [one, two])
    assert merged.unsettled == [a, b] == list(merged.conflicts) and not merged.rows
    assert [v.fields["output"] for v in merged.conflicts[a]] == ["하나", "둘"]
    with pytest.raises(ValueError, match=f"2 conflicts are unsettled .first: {a}, {b}"):
        review.write_merged(merged, tmp_path / "ko.jsonl")
    assert not (tmp_path / "ko.jsonl").exists()
    last = {a: {"fields": {"output": "셋"}, "edited": "2026-11-20T12:00:00+09:00"}, b: {"done": False}}
    settled = exported("다은", last, name="settled")
    merged = review.merge_reviews(six, [one, two, settled])
    assert (merged.rows[a].fields["output"], merged.rows[a].reviewer, merged.unsettled) == ("셋", "다은", [b])
    assert list(merged.conflicts) == [a, b]
    exported("서준", {a: late | {"edited": "2026-11-20T12:00:01+09:00"}, b: {}})  # edited again after it was settled
    assert review.merge_reviews(six, [one, two, settled]).unsettled == [a]


def test_the_review_that_ships_shows_each_step():
    folder = paths.ROOT / "data" / "review"
    pairs = translation.read_drafts(folder / "drafts.jsonl")
    english = {e.id: translation.example_fields(e) for e in readers.read_instructions("authored-en", "en")}
    assert all(d.english == english[d.id] for d in pairs)
    found = checks.count_flags([checks.flag_draft(d.english, d.korean, d.cut) for d in pairs])
    assert all(found[k] for k in ("left_in_english", "cut_off", "broken_format", "translationese", "foreign_life"))
    merged = review.merge_reviews(pairs, folder.glob("*.json"))
    assert len(merged.rows) == len(pairs) == 8 and list(merged.conflicts) == ["en-b-042"] and merged.doubled == 2
    authored = {k.source_id: translation.example_fields(k) for k in readers.read_instructions("authored-ko", "ko")}
    assert all(v.fields == authored[i] for i, v in merged.rows.items())
    assert {v.adaptation for v in merged.rows.values()} == {"none", "ne_change", "topic_change"}


def test_of_one_reviewers_two_files_the_later_row_counts(six, exported):
    a = six[0].id
    late = exported("민지", {a: {"fields": {"output": "나중"}, "edited": "2026-11-20T09:00:00Z"}}, name="late")
    merged = review.merge_reviews(six, [late, exported("민지", {a: {"fields": {"output": "먼저"}}})])
    assert merged.rows[a].fields["output"] == "나중" and not merged.conflicts
    reopened = exported("민지", {a: {"done": False, "edited": "2026-11-20T10:00:00Z"}}, name="reopened")
    assert a in review.merge_reviews(six, [late, reopened]).undone
    texts = {"민지": "각각 다릅니다.\n", "서준": "\u1100\u1161\u11a8각 다릅니다."}
    files = [exported(name, {a: {"fields": {"output": text}}}) for name, text in texts.items()]
    assert not review.merge_reviews(six, files).conflicts, "white space and decomposed Hangul make none"


@pytest.mark.parametrize(("row", "top", "said"), CASES["wrong_files"])
def test_a_file_that_does_not_belong_is_named_with_its_row(six, exported, row, top, said):
    with pytest.raises(ValueError, match=f"민지.json.*{said}"):
        review.read_review(exported("민지", {six[0].id: row}, top=top), six)


def test_other_drafts_have_another_digest(six):
    changed = [replace(d, korean=d.korean | {"output": d.korean["output"] + "."}) for d in six]
    assert len({review.hash_drafts(six), review.hash_drafts(changed), review.hash_drafts(six[:5])}) == 3
    with pytest.raises(ValueError, match="is given twice"):
        review.hash_drafts([six[0], six[0]])


@pytest.mark.parametrize(("a", "b", "edits"), [("", "가나", 2), ("kitten", "sitting", 3), ("나는 간다", "너는 간다!", 2)])
def test_edit_distance_counts_inserted_removed_and_replaced_letters(a, b, edits):
    assert review.edit_distance(a, b) == review.edit_distance(b, a) == edits


def test_what_changed_is_told_row_by_row_and_in_sum(six, exported):
    a, b, c = (d.id for d in six[:3])
    output = six[0].korean["output"]
    rows = {a: {"fields": {"output": output + "!!"}}, b: {}, c: {"adaptation": "ne_change"}}
    merged = review.merge_reviews(six, [exported("민지", rows)])
    first, second, _ = review.list_changes(merged)
    size = sum(map(len, six[0].korean.values()))
    assert (first["changed"], first["edit distance"], first["edit share"]) == ("output", 2, pytest.approx(2 / (size + 2)))
    assert (second["changed"], second["edit distance"], second["edit share"]) == ("", 0, 0)
    total = review.summarize_review(merged)
    assert total["labels"] == {"none": 2, "ne_change": 1, "topic_change": 0}
    assert (total["settled"], total["undone"], total["as drafted"], total["labelled but as drafted"]) == (3, 3, 2, [c])
    assert total["edit share"]["topic_change"] is None and total["by reviewer"] == {"민지": 3}
