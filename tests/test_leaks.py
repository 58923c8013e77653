"""Duplicates, copies and paraphrases of evaluation texts."""

import json
import random
from types import SimpleNamespace

import pytest

from blossom.instructions.readers import read_instructions
from blossom.text import leaks
from tests.cases import read_cases

LONG = "Wash the rice three times, soak it for half an hour, and cook it in a little less water than you think."
SEOUL = "서울에서 하루 동안 둘러볼 만한 곳을 세 군데만 추천해 주세요."


def test_minhash_finds_what_comparing_all_pairs_finds():
    drawn = random.Random(1)
    texts = [" ".join(drawn.choices(LONG.split(), k=20)) for _ in range(30)]
    texts += [t.replace("rice", "barley", 1) for t in texts]
    first = {}
    for n, text in enumerate(texts):
        own, before = leaks._shingles(text), [leaks._shingles(t) for t in texts[:n]]
        twins = [m for m, s in enumerate(before) if m not in first and len(own & s) >= 0.8 * len(own | s)]
        first |= {n: twins[0]} if twins else {}
    assert leaks.near_duplicates(texts, 0.8) == first and first


@pytest.mark.parametrize(("prompt", "output", "copied"), read_cases(__file__)["copies"])
def test_examples_that_hold_evaluation_text_are_found(prompt, output, copied):
    evaluation = {"prompts.jsonl": [SEOUL, "Name three rivers.", "짧은 질문입니다"]}
    assert leaks.find_copies([("other", "text"), (prompt, output)], evaluation) == ({1: ["prompts.jsonl"]} if copied else {})


def test_paraphrased_prompts_are_found_and_little_else():
    authored = read_instructions("authored-en", "en") + read_instructions("authored-ko", "ko")
    written = leaks.read_evaluation_texts(["data/prompts/prompts.jsonl"])["prompts.jsonl"]
    old = {text: source for source, text in read_cases(__file__)["paraphrases"]}
    found = leaks.find_paraphrases([e.prompt for e in authored], {"old": list(old), "new": written})
    pairs = {(authored[n].id[3:], text) for n, text in zip(found.prompt, found.text, strict=True)}
    assert {(source, text) for text, source in old.items()} <= pairs
    assert sum(found.evaluation == "new") <= 0.05 * len(written), "all of these ask for other things"
    assert found.similarity.is_monotonic_decreasing and found.similarity.between(0.35, 1).all()


def test_unlike_texts_and_empty_sets_have_no_paraphrase_and_folded_letters_ignore_case_digits_and_punctuation():
    assert leaks.fold_letters("Set 5 °C!") == leaks.fold_letters("Ｓet c") == "setc" and leaks.fold_letters("5!") == "5!"
    assert leaks.find_paraphrases([LONG, "Turn on the light."], {"a": [SEOUL]}).empty
    assert leaks.find_paraphrases([], {"a": [SEOUL]}).empty and leaks.find_paraphrases([LONG], {}).empty


def test_benchmark_items_in_the_training_text_are_counted():
    rows = [{"id": "1", "premise": "A man walks his old dog in the park", "label": 0}]
    rows += [{"id": "2", "premise": "Three words only"}]
    task, texts = SimpleNamespace(name="nli", rows=rows), ["Nothing alike.", "a MAN walks  his Ｏld, dog in the park today"]
    table = leaks.measure_overlap([task], texts, words=5)
    assert table.loc[0, ["items", "checked", "overlapping", "share"]].tolist() == [2, 1, 1, 1.0]
    assert table.example[0] == "a man walks his old"
    assert leaks.measure_overlap([task], ["walks his old"], words=5).overlapping.item() == 0


def test_evaluation_texts_come_from_every_format(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"premise": "A long enough premise", "id": "x"}]))
    (tmp_path / "b.TSV").write_text("another long premise\t0\n")
    (tmp_path / "c.jsonl").write_text('\ufeff{"inner": {"texts": ["a third\u2028long premise"]}}\n', encoding="utf-8")
    found = {"a.json": "A long enough premise", "b.TSV": "another long premise", "c.jsonl": "a third\u2028long premise"}
    assert leaks.read_evaluation_texts([str(tmp_path)]) == {name: [text] for name, text in found.items()}
