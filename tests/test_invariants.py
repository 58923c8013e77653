"""What holds whatever the input: laws over made-up corpora."""

from types import SimpleNamespace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blossom.text.corpus import normalise_text, read_corpus
from blossom.text.leaks import fold_letters

korean = st.text(st.sampled_from("먹는 햄버거를 공룡이\u1100\u1161\u11a8 abc.\n🙂漢"), max_size=40)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
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
