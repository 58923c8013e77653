"""What holds whatever the input: laws over made-up corpora and exported files."""

import json
import unicodedata
from types import SimpleNamespace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blossom.instructions import merging, review
from blossom.instructions.readers import read_instructions
from blossom.text.corpus import normalise_text, read_corpus
from blossom.text.leaks import fold_letters

SOME = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
whole = st.characters(exclude_categories=["Cs"])  # any character but halves of one
korean = st.text(st.sampled_from("먹는 햄버거를 공룡이\u1100\u1161\u11a8 abc.\n🙂漢"), max_size=40)


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
