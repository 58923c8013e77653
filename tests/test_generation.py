"""Answers: what a prompt's answer depends on, and on what it must not."""

import io
import itertools
import sys

import numpy as np
import pexpect
import pytest
import torch
from transformers import GenerationConfig, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from blossom.common import runs, server
from blossom.generation import answers
from blossom.generation.__main__ import find_newest_run, show_answers
from blossom.instructions import dataset, templates
from blossom.models.loading import load_model, save_model
from blossom.vocabulary import loading, spelling

OWN = [{"num_beams": 4}, {"num_return_sequences": 3, "do_sample": True}, {"stop_strings": ["a"]}, {"penalty_alpha": 0.6}]
PROMPTS = ["Recommend a book.", "서울에서 하루를 보낸다면 어디에 갈까요?", "Hi", "왜 하늘은 파란가요?", "Count to 3."]


@pytest.fixture(scope="module", params=["tiny-byte-level", "tiny-sentencepiece"])
def tiny(request):
    return load_model(request.param, torch.float32)


def ask(tiny, prompts=PROMPTS, **settings):
    return answers.generate_answers(*tiny, prompts, "chatml", **{"new_tokens": 12, "temperature": 1.0} | settings)


@pytest.mark.parametrize("batch_size", [2, 5])
def test_the_seed_changes_an_answer_and_the_batch_does_not(tiny, batch_size):
    alone = ask(tiny, batch_size=1)
    assert alone != ask(tiny, batch_size=1, seed=1)
    assert ask(tiny, batch_size=batch_size) == alone and ask(tiny, PROMPTS[::-1], batch_size=batch_size) == alone[::-1]


BEGUN = {chr(n).encode()[:k] for n in range(0x80, 0x110000, 64) if not 0xD800 <= n < 0xE000 for k in (1, 2, 3)} | {b""}


def fits(data, last):
    """Whether bytes are UTF-8, but for the beginning of a character at their end, and whole at the `last` token."""
    ends = [data[len(data) - k :] for k in range(4)]
    return any(spelling.is_whole(data[: len(data) - len(end)]) and end in BEGUN and not (end and last) for end in ends)


def test_without_temperature_it_takes_the_best_token_that_breaks_no_character(tiny):
    model, tokenizer = tiny
    spelled, stops = spelling.token_bytes(tokenizer), answers.stop_token_ids(model, tokenizer)
    for prompt, answer in zip(PROMPTS, ask(tiny, temperature=0.0, repetition_penalty=1.0), strict=True):
        ids, _ = templates.encode_conversation("chatml", [{"role": "user", "content": prompt}], tokenizer)
        start = len(ids)
        for _ in range(12):
            with torch.no_grad():
                order = model(torch.tensor([ids])).logits[0, -1].argsort(descending=True).tolist()
            written = b"".join(spelled[i] for i in ids[start:])
            best = next(i for i in order if fits(written + spelled[i], last=not spelled[i]))
            if best in stops:
                break
            ids.append(best)
        assert answer == tokenizer.decode(ids[start:], skip_special_tokens=True).rstrip("\ufffd").strip()


def test_hot_answers_of_a_random_model_have_no_broken_character(tiny):
    settings = {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "new_tokens": 30, "repetition_penalty": 1.5}
    assert not any("\ufffd" in answer for seed in range(4) for answer in ask(tiny, seed=seed, **settings))


def test_an_answer_ends_at_a_special_token(tiny):
    model, tokenizer = tiny
    chosen = answers.Sampler.__call__

    def hurry(self, ids, scores):  # after three tokens the model says that it is done
        if ids.shape[1] < self.mask.shape[1] + 3:
            return chosen(self, ids, scores)
        return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([tokenizer.eos_token_id]), 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers.Sampler, "__call__", hurry)
        short = ask(tiny)
    assert short == ask(tiny, new_tokens=3)


@pytest.mark.parametrize("own", OWN)
def test_what_the_base_s_generation_config_asks_for_changes_no_answer_and_stays_there(own, monkeypatch):
    model, tokenizer = load_model("tiny-byte-level", torch.float32)
    expected, config = ask((model, tokenizer), PROMPTS[:2]), GenerationConfig(no_repeat_ngram_size=1, **own)
    monkeypatch.setattr(model, "generation_config", config)
    assert ask((model, tokenizer), PROMPTS[:2]) == expected and model.generation_config is config


def test_sampling_keeps_what_the_usual_warpers_keep():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 50, generator=generator) * 3
    expected = TopPLogitsWarper(0.9)(None, TopKLogitsWarper(20)(None, TemperatureLogitsWarper(0.7)(None, scores)))
    drawn = np.zeros(50)
    for seed in range(3000):
        sampler = answers.Sampler(torch.ones(1, 1), [seed], (), 0.7, 0.9, 20, 1.0)
        drawn[int(sampler(torch.zeros(1, 1, dtype=torch.long), scores).argmax())] += 1
    p = expected.softmax(-1)[0].numpy()
    assert set(np.flatnonzero(drawn)) <= set(np.flatnonzero(p))
    assert np.abs(drawn / drawn.sum() - p).max() < 4 * np.sqrt(0.25 / 3000)


def test_padding_and_parts_of_characters_are_not_punished_as_repetition():
    scores = torch.tensor([[2.0, 2.0, -1.0, 0.5]])
    sampler = answers.Sampler(torch.tensor([[0, 0, 1]]), [0], (), 0.0, 1.0, 0, 2.0)
    assert sampler(torch.tensor([[0, 0, 2]]), scores).tolist() == [[2.0, 2.0, -2.0, 0.5]]
    sampler = answers.Sampler(torch.ones(1, 3), [0], [b"a", b"\xed", b" b", b""], 0.0, 1.0, 0, 2.0)
    assert sampler(torch.tensor([[1, 2, 0]]), scores).tolist() == [[1.0, 2.0, -2.0, 0.5]]
    assert scores.tolist() == [[2.0, 2.0, -1.0, 0.5]]


def test_a_prompt_that_leaves_no_room_is_named(tiny):
    with pytest.raises(ValueError, match=r"prompt 1: .* tokens and 12 new ones; the model has room for"):
        ask(tiny, ["Hi", "word " * 3000])
    with pytest.raises(ValueError, match="has no text"):
        ask(tiny, ["  "])


def test_stored_answers_are_the_same_and_need_no_model(tmp_path, monkeypatch):
    store = server.ReplyStore(tmp_path)
    settings = {"template": "chatml", "dtype": torch.float32, "batch_size": 2, "new_tokens": 6, "seed": 1}
    first, counts = answers.stored_answers("tiny-byte-level", PROMPTS, store=store, **settings), []
    again = ask(load_model("tiny-byte-level"), batch_size=2, new_tokens=6, seed=1, temperature=0.2, lengths=counts)
    assert first == [{"answer": text, "tokens": count} for text, count in zip(again, counts, strict=True)]
    loads, load = [], load_model
    monkeypatch.setattr("blossom.generation.answers.load_model", lambda *words: loads.append(words) or load(*words))
    assert answers.stored_answers("tiny-byte-level", PROMPTS, store=store, **settings) == first and loads == []
    answers.stored_answers("tiny-byte-level", PROMPTS, store=store, **settings | {"seed": 2})
    answers.stored_answers("tiny-sentencepiece", PROMPTS, store=store, **settings)
    monkeypatch.setitem(templates.TEMPLATES, "chatml", templates.TEMPLATES["newline"])
    answers.stored_answers("tiny-byte-level", PROMPTS, store=store, **settings)
    assert len(loads) == 3  # another seed, model or text of the template is another answer


def test_an_interrupted_run_goes_on_with_the_next_batch(tmp_path, monkeypatch):
    store, calls, generate = server.ReplyStore(tmp_path), [], answers.generate_answers
    settings = {"template": "chatml", "dtype": torch.float32, "batch_size": 2, "new_tokens": 6}

    def dies(*words, **settings):
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(*words, **settings)

    monkeypatch.setattr(answers, "generate_answers", dies)
    with pytest.raises(KeyboardInterrupt):
        answers.stored_answers("tiny-byte-level", PROMPTS, store=store, **settings)
    assert answers.stored_answers("tiny-byte-level", PROMPTS, store=store, **settings) and len(calls) == 4  # 1 of 3 twice
    assert len(list(tmp_path.glob("*.json"))) == 3


SENTENCE = "햄버거를 먹는 공룡, 그리고 🦖 too"
ASKED = [{"role": "user", "content": "왜 하늘은 파란가요?"}]
GREEDY = {"template": "chatml", "new_tokens": 24, "temperature": 0.0}
HOT = {"temperature": 2.0, "top_k": 0, "top_p": 1.0}


def decoded(ids, tokenizer):
    return list(answers.decode_stream(ids, tokenizer))


def said(tiny, messages, **settings):
    return "".join(answers.stream_answer(*tiny, messages, **GREEDY | settings))


def test_a_syllable_of_several_tokens_comes_out_once_and_whole(tiny):
    tokenizer = tiny[1]
    ids = tokenizer(SENTENCE, add_special_tokens=False).input_ids
    assert any("\ufffd" in tokenizer.decode([i]) for i in ids), "some tokens are only part of a character"
    pieces = decoded(ids, tokenizer)
    assert "".join(pieces) == SENTENCE and not any("\ufffd" in piece or piece == "" for piece in pieces)
    assert len(pieces) > 12, "it is written as it comes, not at the end"


def test_incomplete_characters_special_tokens_and_padding_rows_are_left_out(tiny):
    tokenizer = tiny[1]
    spelled = spelling.token_bytes(tokenizer)
    parts = [i for i in tokenizer("먹", add_special_tokens=False).input_ids if not spelling.is_whole(spelled[i])]
    now = tokenizer("now", add_special_tokens=False).input_ids
    assert decoded(parts[:-1], tokenizer) == [] and "".join(decoded([*parts[:-1], *now], tokenizer)).strip() == "now"
    assert "".join(decoded([tokenizer.bos_token_id, *now, tokenizer.eos_token_id, 10_000], tokenizer)) == "now"


@pytest.mark.parametrize("question", ["Recommend a book.", "왜 하늘은 파란가요?", "Hi"])
def test_a_stream_chooses_the_tokens_that_generate_chooses(tiny, question):
    messages = [{"role": "user", "content": question}]
    assert said(tiny, messages).strip() == answers.generate_answers(*tiny, [question], **GREEDY)[0]


def test_the_seed_and_earlier_turns_decide_and_a_reader_may_stop(tiny):
    first, again, other = (said(tiny, ASKED, **HOT, seed=s) for s in (3, 3, 4))
    assert first == again != other
    assert first.startswith("".join(itertools.islice(answers.stream_answer(*tiny, ASKED, **GREEDY | HOT | {"seed": 3}), 2)))
    assert len({said(tiny, [{"role": "user", "content": text}], **HOT) for text in ("?", "\udcb0")}) == 1, "a broken byte"
    turns = [*ASKED, {"role": "assistant", "content": "빛이 흩어져서요."}, {"role": "user", "content": "왜요?"}]
    assert said(tiny, turns, **HOT) != said(tiny, turns[2:], **HOT)


def test_a_tuned_model_s_template_and_prompts_are_found_and_the_terminal_shows_it_beside_its_base_until_ctrl_c(smoke):
    p = smoke("04_korean_lima_sft", "blossom-bi-biSFT", new_tokens=400, template="newline")
    with pytest.raises(ValueError, match="no finished run in .*04_korean_lima_sft: make it with make run"):
        find_newest_run(p.outputs)
    run = runs.Run(p, "04_korean_lima_sft")
    save_model(*load_model(p.base_model), run.folder / "model")
    run.finish({}, outputs=["model"])
    tuned = answers.find_tuning(run.home / "model")
    assert tuned.params["template"] == "newline" and answers.find_tuning(p.base_model) is None
    examples = [{e.prompt for e in found} for found in dataset.choose_examples(p, (), loading.load_tokenizer(p.base_model))]
    near = {f"{prompt.upper()} !" for prompt in examples[0]}
    asked = [{"prompt": prompt} for prompt in {*PROMPTS, *near}.union(*examples)]
    left = [a["prompt"] for a in dataset.leave_out_trained(asked, [tuned, None])]
    assert {*left} == {*PROMPTS, *examples[1]} - examples[0]
    with pytest.raises(ValueError, match="prompts: the models were tuned on all of them"):
        dataset.leave_out_trained([{"prompt": prompt} for prompt in near], [tuned])
    words = ["-m", "blossom.generation", "--outputs", p.outputs]
    shown = io.StringIO()
    talk = pexpect.spawn(sys.executable, words, encoding="utf-8", timeout=180, dimensions=(40, 100), logfile=shown)
    talk.expect("Ctrl-D ends")
    for _ in range(2):
        talk.expect("you> ")
        talk.sendline("왜 하늘은 파란가요?")
        talk.expect("tiny-byte-level.*smoke/blossom-bi-biSFT")
        talk.sendintr()
    for _ in range(60):  # what is typed while an answer ends is lost
        talk.sendeof()
        if talk.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=3) == 0:
            break
    talk.close()
    assert talk.exitstatus == 0 and "\ufffd" not in shown.getvalue() and "Traceback" not in shown.getvalue()


def test_what_cannot_be_answered_is_refused_before_the_first_word(tiny):
    with pytest.raises(ValueError, match="expected a user's message last, found role 'assistant'"):
        answers.stream_answer(*tiny, [*ASKED, {"role": "assistant", "content": "네."}], **GREEDY)
    with pytest.raises(ValueError, match="this tokenizer has no chat template"):
        answers.stream_answer(*tiny, ASKED)
    with pytest.raises(ValueError, match="the model has room for 1024"):
        answers.stream_answer(*tiny, ASKED, template="chatml", new_tokens=1020)


def test_a_chat_keeps_the_pieces_of_the_models_and_shows_no_code_that_a_terminal_would_obey(capsys):
    streams = (piece for piece in ("tab\t", "zero\u200dwidth", "\x1b[31m")), iter(["하나"])
    assert show_answers(streams, ["base", "ours"]) == ["tab\tzero\u200dwidth\x1b[31m", "하나"]
    assert "\x1b[31m" not in capsys.readouterr().out
