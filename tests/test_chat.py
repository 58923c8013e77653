"""Streaming: whole characters only, and the same text that decoding all at once gives."""

import itertools

import pytest
import torch

from blossom.generation import chat
from blossom.generation.answers import stop_token_ids
from blossom.instructions.templates import encode_conversation
from blossom.models.loading import load_model
from blossom.vocabulary.spelling import is_whole, token_bytes

SENTENCE = "햄버거를 먹는 공룡, 그리고 🦖 too"
ASKED = [{"role": "user", "content": "왜 하늘은 파란가요?"}]
GREEDY = {"template": "chatml", "new_tokens": 24, "temperature": 0.0}
HOT = {"temperature": 2.0, "top_k": 0, "top_p": 1.0}


@pytest.fixture(scope="module", params=["tiny-byte-level", "tiny-sentencepiece"])
def tiny(request):
    return load_model(request.param, torch.float32)


def decoded(ids, tokenizer):
    return list(chat.decode_stream(ids, tokenizer))


def said(tiny, messages, **settings):
    return "".join(chat.stream_answer(*tiny, messages, **GREEDY | settings))


def test_a_syllable_of_several_tokens_comes_out_once_and_whole(tiny):
    tokenizer = tiny[1]
    ids = tokenizer(SENTENCE, add_special_tokens=False).input_ids
    assert any("\ufffd" in tokenizer.decode([i]) for i in ids), "some tokens are only part of a character"
    pieces = decoded(ids, tokenizer)
    assert "".join(pieces) == SENTENCE and not any("\ufffd" in piece or piece == "" for piece in pieces)
    assert len(pieces) > 12, "it is written as it comes, not at the end"


def test_incomplete_characters_special_tokens_and_padding_rows_are_left_out(tiny):
    tokenizer = tiny[1]
    parts = [i for i in tokenizer("먹", add_special_tokens=False).input_ids if not is_whole(token_bytes(tokenizer)[i])]
    now = tokenizer("now", add_special_tokens=False).input_ids
    assert decoded(parts[:-1], tokenizer) == [] and "".join(decoded([*parts[:-1], *now], tokenizer)).strip() == "now"
    assert "".join(decoded([tokenizer.bos_token_id, *now, tokenizer.eos_token_id, 10_000], tokenizer)) == "now"


@pytest.mark.parametrize("question", ["Recommend a book.", "왜 하늘은 파란가요?", "Hi"])
def test_a_stream_chooses_the_tokens_that_generate_chooses(tiny, monkeypatch, question):
    model, tokenizer = tiny
    monkeypatch.setattr(chat, "decode_stream", lambda ids, tokenizer: list(ids))
    messages, stops = [{"role": "user", "content": question}], stop_token_ids(model, tokenizer)
    seen = chat.stream_answer(model, tokenizer, messages, **GREEDY)
    ids = torch.tensor([encode_conversation("chatml", messages, tokenizer)[0]])
    out = model.generate(ids, max_new_tokens=24, do_sample=False, repetition_penalty=1.1, eos_token_id=stops)
    assert seen == [i for i in out[0, ids.shape[1] :].tolist() if i not in stops]


def test_the_seed_decides_and_a_reader_may_stop(tiny):
    first, again, other = (said(tiny, ASKED, **HOT, seed=s) for s in (3, 3, 4))
    assert first == again != other
    pieces = chat.stream_answer(*tiny, ASKED, **GREEDY | HOT | {"seed": 3})
    assert first.startswith("".join(itertools.islice(pieces, 2)))


def test_earlier_turns_are_read(tiny):
    turns = [*ASKED, {"role": "assistant", "content": "빛이 흩어져서요."}, {"role": "user", "content": "왜요?"}]
    assert said(tiny, turns, **HOT) != said(tiny, turns[2:], **HOT)


def test_what_cannot_be_answered_is_refused_before_the_first_word(tiny):
    with pytest.raises(ValueError, match="expected a user's message last, found role 'assistant'"):
        chat.stream_answer(*tiny, [*ASKED, {"role": "assistant", "content": "네."}], **GREEDY)
    with pytest.raises(ValueError, match="this tokenizer has no chat template"):
        chat.stream_answer(*tiny, ASKED)
    with pytest.raises(ValueError, match="the model has room for 1024"):
        chat.stream_answer(*tiny, ASKED, template="chatml", new_tokens=1020)
