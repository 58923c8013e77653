import json

import pytest

from blossom.instructions import checks, readers, translation
from tests.cases import read_cases
from tests.server import completion

CASES = read_cases(__file__)


def translating(body, number):
    text = body["messages"][-1]["content"].split("<text>\n")[1].split("\n</text>")[0]
    return f"<think>Hm.</think><text>\n번역: {text}\n</text>"


@pytest.fixture
def service(serve):
    return serve(translating)


@pytest.fixture
def translate(service, tmp_path):
    def make(examples, requests=100):
        folder = tmp_path / "replies"
        translator = translation.ServedTranslator(service.url, "tiny", folder, requests, tries=1, pause=lambda seconds: None)
        translator.parallel = 1
        return translation.translate_examples(examples, translator)

    return make


@pytest.fixture
def examples(tmp_path):
    rows = [{"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}."} for n in range(5)]
    rows.append({"conversations": ["Hi.", "Hello.", "Bye?", "Bye."]})
    (tmp_path / "en.json").write_text(json.dumps(rows), encoding="utf-8")
    return readers.read_instructions(str(tmp_path / "en.json"), "en")


def texts_of(told):
    return [text for draft in told for text in draft.korean.values() if text]


def test_every_field_is_translated_in_its_place(service, translate, examples, capsys):
    told = translate(examples)
    assert told[0].korean == {"instruction": "번역: Question 0?", "input": "", "output": "번역: Answer 0."}
    assert list(told[-1].korean) == ["history.1.user", "history.1.assistant", "instruction", "input", "output"]
    assert len(service.bodies) == 14 and not any(d.cut for d in told)
    assert "14 requests to send" in capsys.readouterr().out
    asked = service.bodies[-1]["messages"][-1]["content"]
    assert "Request: Hi.\nAnswer: Hello.\nRequest: Bye?" in asked and asked.endswith("<text>\nBye.\n</text>")


def test_a_service_that_fails_half_way_is_not_paid_twice(service, translate, examples):
    service.reply = lambda body, n: translating(body, n) if n <= 6 else (503, {}, "out of service")
    with pytest.raises(RuntimeError, match=r"tiny: stopped after 6 of 14 requests.*replies.*out of service"):
        translate(examples)
    service.reply = translating
    service.bodies.clear()
    assert len(texts_of(translate(examples))) == 14 and len(service.bodies) == 8


def test_the_limit_of_requests_is_kept(service, translate, examples, tmp_path, capsys):
    server = translation.find_translator(service.url, "gpt", tmp_path, 7)
    assert isinstance(server, translation.ServedTranslator) and (server.name, server.requests) == ("gpt", 7)
    assert len(texts_of(translate(examples, 3))) == len(service.bodies) == 3
    assert "texts without a translation: 11" in capsys.readouterr().out
    assert len(texts_of(translate(examples, 0))) == len(service.bodies) == 3


def test_a_reply_at_the_length_limit_is_marked_as_cut(service, translate, examples, capsys):
    service.reply = lambda body, n: (200, {}, completion("번역", finish="length"))
    assert translate(examples[:1])[0].cut == ("instruction", "output") and "2 translations" in capsys.readouterr().out
    service.reply = translating
    assert not translate(examples[:1])[0].cut  # they were asked for again


def test_a_system_message_has_no_place_in_the_lima_form(tmp_path):
    turns = [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]
    (tmp_path / "s.jsonl").write_text(json.dumps({"messages": turns}), encoding="utf-8")
    with pytest.raises(ValueError, match="s.jsonl, line 1: opens with a system message"):
        translation.example_fields(readers.read_instructions(str(tmp_path / "s.jsonl"), "en")[0])


@pytest.fixture(scope="module")
def translation_model(tmp_path_factory):
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    pairs = CASES["pairs"]
    letters = sorted(set("".join(pairs) + "".join(pairs.values()) + "▁") - {" "})
    vocabulary = {t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn", tgt_lang="kor_Hang")
    torch.manual_seed(0)
    size = {"d_model": 64, "max_position_embeddings": 64, "scale_embedding": False, "vocab_size": len(tokenizer)}
    for side in ("encoder", "decoder"):
        size |= {f"{side}_layers": 1, f"{side}_ffn_dim": 128, f"{side}_attention_heads": 4}
    model = M2M100ForConditionalGeneration(M2M100Config(**size)).eval()  # without dropout
    batch = tokenizer(list(pairs), text_target=list(pairs.values()), return_tensors="pt", padding=True)
    batch["labels"] = batch["labels"].masked_fill(batch["labels"] == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("nllb")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_model_translates_prose_and_leaves_format_alone(translation_model, tmp_path):
    assert isinstance(translation.find_translator(str(translation_model), "", tmp_path), translation.LocalTranslator)
    translator = translation.LocalTranslator(str(translation_model), tmp_path / "replies", new_tokens=32)
    code = "```python\nprint(1)  # Add salt.\n```"
    file = tmp_path / "en.json"
    row = {"instruction": "Boil the water.", "output": f"Steps:\n\n1. Boil the water. Add salt.\n- Stir it well.\n\n{code}"}
    file.write_text(json.dumps([row]), encoding="utf-8")
    (told,) = translation.translate_examples(readers.read_instructions(str(file), "en"), translator)
    assert told.korean["instruction"] == "물을 끓이세요."
    assert told.korean["output"] == f"순서:\n\n1. 물을 끓이세요. 소금을 넣으세요.\n- 잘 저으세요.\n\n{code}"
    assert not told.cut and translator.sent == 2
    short = translation.LocalTranslator(str(translation_model), tmp_path / "replies", requests=1, new_tokens=4)
    assert short.fetch(short.ask_translation("Boil the water.", ""))["cut"]
    assert short.fetch(short.ask_translation("Add salt.", "")) is None
    translator._tokenizer.model_max_length = 8
    assert translator.fetch(translator.ask_translation("Stir it well.", ""))["cut"], "of its sentence a part was read"


@pytest.fixture(scope="module")
def authored():
    english, korean = readers.read_instructions("authored-en", "en"), readers.read_instructions("authored-ko", "ko")
    by_id = {e.id: translation.example_fields(e) for e in english}
    pairs = [(by_id[k.source_id], translation.example_fields(k)) for k in korean]
    return [(translation.Draft(k.source_id, "", *pair), k.adaptation) for k, pair in zip(korean, pairs, strict=True)]


@pytest.mark.parametrize("kind", [kind for kind in checks.KINDS if not kind.startswith("foreign")])
def test_reviewed_korean_is_rarely_flagged(authored, kind):
    flagged = [d.id for d, a in authored if kind in [f.kind for f in checks.flag_draft(d.english, d.korean, (), a)]]
    assert len(flagged) <= 0.04 * len(authored), flagged


def test_rows_that_people_adapted_are_found_in_the_english(authored):
    def found(adaptation):
        rows = [checks.flag_draft(d.english, d.english) for d, a in authored if a == adaptation]
        return sum(any(f.kind.startswith("foreign") for f in row) for row in rows) / len(rows)

    assert found("ne_change") >= 0.7  # measured: 0.75
    assert found("none") <= 0.15  # 0.08


@pytest.mark.parametrize("text", CASES["translated"] + CASES["plain"])
def test_translationese_is_flagged_and_plain_korean_is_not(text):
    kinds = [flag.kind for flag in checks.flag_draft({"output": "He has a big house."}, {"output": text})]
    assert ("translationese" in kinds) == (text in CASES["translated"])


@pytest.mark.parametrize("row", CASES["drafts"])
def test_what_is_missing_added_or_broken_is_flagged(row):
    english, korean, expected, *more = row
    assert [flag.kind for flag in checks.flag_draft({"output": english}, {"output": korean}, **dict(*more))] == expected


@pytest.mark.parametrize(("english", "korean", "adaptation", "expected"), CASES["found"])
def test_foreign_names_american_life_and_english_are_flagged_with_the_words(english, korean, adaptation, expected):
    flags = checks.flag_draft({"instruction": english}, {"instruction": korean}, adaptation=adaptation)
    assert [[f.kind, f.found] for f in flags] == expected
