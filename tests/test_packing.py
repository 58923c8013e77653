from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.models import bits, loading
from blossom.training import data, packing
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.loading import load_tokenizer

TOKENIZER = load_tokenizer("tiny-byte-level")


def stream(lengths, first=10):
    tokens = np.arange(first, first + sum(lengths), dtype=np.uint32)
    return packing.TokenStream(tokens, np.cumsum([0, *lengths], dtype=np.int64), utf8_bytes=sum(lengths))


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=30).filter(lambda s: sum(s) >= 8)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 8), st.integers(0, 3), st.booleans())
def test_an_epoch_holds_every_token_once(lengths, block_size, seed, isolate):
    source = stream(lengths)
    blocks = packing.Blocks({"ko": source}, {"ko": 1}, block_size, seed=seed, isolate=isolate)
    seen = Counter(int(t) for i in range(len(blocks)) for t in blocks[i]["input_ids"] if t)
    assert seen == Counter(source.tokens.tolist())


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.floats(0.05, 0.95), st.integers(1, 8))
def test_the_realised_share_is_never_a_block_away(korean, english, share, block_size):
    streams = {"ko": stream(korean), "en": stream(english, 10_000)}
    blocks = packing.Blocks(streams, {"ko": share, "en": 1 - share}, block_size, tokens=400 * block_size)
    counts = np.cumsum(blocks.source == 0)
    assert np.all(np.abs(counts - share * np.arange(1, len(blocks) + 1)) <= 1)


def test_blocks_are_seekable_and_the_same_each_time():
    streams = {"ko": stream([5, 9, 30, 2, 14]), "en": stream([20, 20], 900)}
    first, second = (packing.Blocks(streams, {"ko": 0.7, "en": 0.3}, 8, tokens=400, seed=3) for _ in range(2))
    backwards = [second[i]["input_ids"].tolist() for i in reversed(range(len(second)))][::-1]
    assert [first[i]["input_ids"].tolist() for i in range(len(first))] == backwards
    blocks = packing.Blocks({"ko": stream([4] * 20)}, {"ko": 1}, 8, tokens=160)
    rows = [blocks[i]["input_ids"].tolist() for i in range(20)]
    assert rows[:10] != rows[10:] and sorted(sum(rows[:10], [])) == sorted(sum(rows[10:], []))  # another order


def test_a_short_last_block_is_counted_as_it_is():
    blocks = packing.Blocks({"ko": stream([5, 6])}, {"ko": 1}, 4, tokens=24)
    lengths = [len(blocks[i]["input_ids"]) for i in range(len(blocks))]
    assert lengths == [4, 4, 3] * 2 and blocks.realised() == {"ko": 22} and blocks.realised(4) == {"ko": 15}


def test_an_isolated_document_is_its_own_segment_and_its_first_token_no_target():
    row = packing.Blocks({"ko": stream([3, 3, 3])}, {"ko": 1}, 9, isolate=True)[0]
    assert row["segments"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (row["labels"] == packing.IGNORED).tolist() == [True, False, False] * 3


def test_tokenizing_happens_once_for_the_same_content(tmp_path, monkeypatch):
    documents = ["하나 둘", "셋"]
    first = packing.tokenize_documents(documents, TOKENIZER, 0, folder=tmp_path)
    monkeypatch.setattr(packing, "_write_stream", None)
    again = packing.tokenize_documents(list(documents), TOKENIZER, 0, folder=tmp_path)
    assert again.tokens.tolist() == first.tokens.tolist()
    assert first.utf8_bytes == sum(len(d.encode()) for d in documents)
    with pytest.raises(TypeError):
        packing.tokenize_documents(["하나", "둘셋"], TOKENIZER, 0, folder=tmp_path)


@pytest.mark.parametrize("size", [3, 99])
def test_a_damaged_stream_is_made_again(size, tmp_path, capsys):
    first = packing.tokenize_documents(documents := ["하나 둘", "셋"] * 9, TOKENIZER, 0, folder=tmp_path)
    expected, file = first.tokens.tolist(), Path(first.tokens.filename)
    file.write_bytes(bytes(min(size, file.stat().st_size)))  # cut, or as long as before
    again = packing.tokenize_documents(documents, TOKENIZER, 0, folder=tmp_path)
    assert again.tokens.tolist() == expected and "not what was stored there" in capsys.readouterr().err


def test_what_cannot_be_mixed_is_refused_and_no_documents_leave_nothing(tmp_path):
    for weights, block, named in (({"ko": 1}, 64, "block_size"), ({"ko": 0}, 4, "weights"), ({"ja": 1}, 4, "weights")):
        with pytest.raises(ValueError, match=f"ko.*{named}|{named}.*ko"):
            packing.Blocks({"ko": stream([8])}, weights, block)
    with pytest.raises(ValueError, match="no documents"):
        packing.tokenize_documents([], TOKENIZER, 0, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tiny-byte-level", "tiny-sentencepiece"])
def test_text_that_spells_control_tokens_is_measured_as_it_is_trained(name, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "CHUNK", 20)  # characters: several batches
    (model, tokenizer), documents = loading.load_model(name), ["Valkyria <unk> III", "</s> and <|im_end|>", "<|endoftext|>"]
    start, end, nats = bits.start_token(tokenizer), bits.end_token(tokenizer), []
    stream = packing.tokenize_documents(documents, tokenizer, start, end, folder=tmp_path)
    for document, a, b in zip(documents, stream.offsets, stream.offsets[1:], strict=False):
        *ids, last = stream.tokens[a:b].tolist()
        assert ids[0] == start and (end is None or last == end)
        ids = torch.tensor([*ids, last] if end is None else ids)
        assert tokenizer.decode(ids[1:]) == document and not set(ids[1:].tolist()) & set(tokenizer.all_special_ids)
        nats.append(torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="sum").item())
    assert bits.document_nats(model, tokenizer, documents).tolist() == pytest.approx(nats, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 16), min_size=1, max_size=40))
def test_packing_keeps_every_example_whole(lengths):
    examples = [{"input_ids": [n + 1] * size, "labels": [n + 1] * size} for n, size in enumerate(lengths)]
    rows = packing.pack_examples(examples, 16)
    assert all(len(row["input_ids"]) <= 16 for row in rows)
    found = []
    for row in rows:
        for segment in range(1, row["segments"].max() + 1):
            ids = row["input_ids"][row["segments"] == segment].tolist()
            assert row["labels"][row["segments"] == segment].tolist() == [packing.IGNORED, *ids[1:]]
            found.append(ids)
    assert sorted(found) == sorted(e["input_ids"] for e in examples)


def test_rows_of_like_length_share_a_batch_and_each_is_read_once_an_epoch():
    rows = [{"input_ids": [1] * n} for n in np.random.default_rng(0).integers(1, 500, 301)]
    found = [data.TrainingRows(rows, TrainingSettings(batch_size=4, epochs=2, seed=seed), None) for seed in (0, 0, 1)]
    assert found[0].order.tolist() == found[1].order.tolist() != found[2].order.tolist()
    assert sorted(found[0].order[:301]) == sorted(found[0].order[301:]) == [*range(301)]
    lengths = [sorted(len(rows[i]["input_ids"]) for i in found[0].numbers(n)) for n in range(151)]
    assert np.mean([b[-1] - b[0] for b in lengths[:-1]]) < 20  # about 300 where batches are random
    assert lengths != sorted(lengths), "the batches are shuffled"


def test_the_asked_share_of_a_stream_s_blocks_is_anchored_spread_evenly():
    streams = {"korean": stream([16] * 4), "english": stream([16] * 4, 900)}
    blocks = packing.Blocks(streams, {"korean": 0.5, "english": 0.5}, 4, anchored={"english": 0.25})
    korean, english = ([b["anchored"] for b, s in zip(blocks, blocks.source, strict=True) if s == n] for n in (0, 1))
    assert not any(korean) and english == [False, False, False, True] * 4
    assert "anchored" not in packing.Blocks(streams, {"korean": 1.0}, 4)[0]
