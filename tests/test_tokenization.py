"""Loading and counting: the fast tokenizer gives SentencePiece's ids, the engine gives the tokenizer's, counts are right."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.vocabulary import encoding, fertility, loading, spelling

KOREAN = ["햄버거를 먹는 공룡", "온도를 설정합니다.", "GPU를 3개 씁니다"]
BYTE_LEVEL, PIECE_LEVEL = (loading.load_tokenizer(f"tiny-{kind}") for kind in ("byte-level", "sentencepiece"))
PRINTED = "▁ ED 96 84 EB B2 84 EA B1 B0 를 ▁ EB A8 B9 는 ▁ 공 EB A3 A1"  # Llama-2's row of the paper's table 1


def test_table_1_is_spelled_as_printed(real_files):
    files = ("llama/tokenizer.model", "kobert/tokenizer_78b3253a26.model")
    llama, kobert = (loading.load_tokenizer(real_files / "tokenizers" / file) for file in files)
    printed = [f"<0x{token}>" if len(token) == 2 else token for token in PRINTED.split()]
    assert spelling.spell_text(llama, KOREAN[0]) == printed and len(printed) == 21
    assert llama("a").input_ids[0] == llama.bos_token_id
    assert spelling.spell_text(kobert, KOREAN[0]) == "▁ 햄 버 거 를 ▁먹 는 ▁공 룡".split()


def test_fertility_counts_what_is_there():
    lines = ["the cat", "the"]
    found = fertility.measure_fertility(BYTE_LEVEL, lines)
    tokens = sum(len(BYTE_LEVEL.tokenize(line)) for line in lines)
    assert found["words"] == 3 and found["bytes"] == found["characters"] == 10
    assert found["tokens"] == tokens and found["fertility"] == tokens / 3
    assert found["bytes_per_token"] == 10 / tokens and found["tokens_per_1000_chars"] == 100 * tokens
    assert found["byte_fallback_share"] == 0
    assert fertility.measure_fertility(BYTE_LEVEL, ["공룡"])["byte_fallback_share"] == 1
    assert fertility.measure_fertility(PIECE_LEVEL, ["공룡"])["byte_fallback_share"] == pytest.approx(6 / 7)  # and a space
    with pytest.raises(ValueError, match="no words"):
        fertility.measure_fertility(BYTE_LEVEL, ["", "  "])


def test_a_folder_with_a_sentencepiece_model_keeps_what_its_other_files_say(tmp_path):
    folder, source = tmp_path / "base", fetch_asset("tiny-sentencepiece")
    folder.mkdir()
    shutil.copy(source / "tokenizer.model", folder)
    expected = encoding.encode_lines(loading.load_tokenizer(folder), KOREAN)
    markers = {"<|im_start|>": 500, "<|im_end|>": 501}
    decoder = {str(i): {"content": token, "special": True} for token, i in ({"<s>": 1} | markers).items()}
    config = {"eos_token": "<|im_end|>", "chat_template": "{{ messages }}", "add_bos_token": False}
    paths.write_json(folder / "added_tokens.json", markers)
    for more in ({}, {"added_tokens_decoder": decoder}):
        paths.write_json(folder / "tokenizer_config.json", config | more)
        tokenizer = loading.load_tokenizer(folder)
        assert tokenizer.eos_token_id == 501 and tokenizer.chat_template == "{{ messages }}" and len(tokenizer) == 502
        assert encoding.encode_lines(tokenizer, KOREAN) == expected and tokenizer("<|im_start|>a").input_ids[0] == 500
    paths.write_json(folder / "added_tokens.json", {"<|im_end|>": 499})
    with pytest.raises(ValueError, match=r"'<\|im_end\|>' has id 499 in tokenizer_config.json .*, and 501 .* put the "):
        loading.load_tokenizer(folder)


def test_a_control_token_in_a_text_is_text_and_a_symbol_stays_a_symbol():
    tokenizer, text = loading.load_tokenizer("tiny-byte-level"), "a<|im_end|> <tool_call>"
    tokenizer.add_tokens(["<tool_call>"])  # as in Qwen: added, and not a control token
    ids = encoding.encode_lines(tokenizer, [text])[0]
    assert tokenizer.eos_token_id not in ids and tokenizer.convert_tokens_to_ids("<tool_call>") == ids[-1]
    assert tokenizer.decode(ids) == text and tokenizer.eos_token_id in tokenizer(text).input_ids


def test_no_text_is_cut_to_the_length_that_a_file_of_a_tokenizer_holds(tmp_path):
    tokenizer = loading.load_tokenizer("tiny-byte-level")
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=90)
    tokenizer.save_pretrained(tmp_path)
    text = "the cat and the dog " * 3
    assert tokenizer.decode(encoding.encode_lines(loading.load_tokenizer(tmp_path), [text])[0]) == text


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_the_bytes_of_the_tokens_are_the_text(text):
    (ids,), table = encoding.encode_lines(BYTE_LEVEL, [text]), spelling.token_bytes(BYTE_LEVEL)
    assert b"".join(table[i] for i in ids) == text.encode() and encoding.count_tokens(BYTE_LEVEL, [text]) == len(ids)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_engine_gives_the_tokenizers_ids(text):
    pytest.importorskip("gigatoken", reason="the engine is optional")
    assert encoding.find_engine(BYTE_LEVEL)
    texts = [text, " " + text, f"<s>{text}<|im_end|>"]
    assert encoding.encode_lines(BYTE_LEVEL, texts) == encoding.encode_lines(BYTE_LEVEL, texts, itself=True)


def test_the_engine_follows_a_tokenizer_that_grows(monkeypatch):
    tokenizer, lines = loading.load_tokenizer("tiny-sentencepiece"), ["the cat 공룡"] * 100
    monkeypatch.setattr(encoding, "LARGE", 1000)  # characters from which the engine is built
    before = encoding.encode_lines(tokenizer, lines)
    tokenizer.add_tokens(["공룡"])
    assert before != encoding.encode_lines(tokenizer, lines) == encoding.encode_lines(tokenizer, lines, itself=True)


def test_a_tokenizer_that_the_engine_does_not_support_encodes_by_itself():
    tokenizer = loading.load_tokenizer("tiny-byte-level")
    tokenizer.add_tokens(["공룡"])  # a symbol found before merging
    assert encoding.find_engine(tokenizer) is None
    (ids,) = encoding.encode_lines(tokenizer, ["먹는 공룡"])
    assert ids[-1] == len(tokenizer) - 1


def test_readable_tokens_show_bytes_and_spaces():
    assert spelling.spell_text(BYTE_LEVEL, "룡") == ["<0xEB>", "<0xA3>", "<0xA1>"]
    assert "".join(spelling.spell_text(BYTE_LEVEL, " the cat")) == "▁the▁cat"
    shown = ["<unk>", "▁가", "▁<0xED><0x96>", "<0xFF>"]
    assert [spelling.show_bytes(data) for data in (b"", " 가".encode(), b" \xed\x96", b"\xff")] == shown
    words = Tokenizer(models.WordPiece({"[UNK]": 0, "먹": 1, "##는": 2}, unk_token="[UNK]"))
    assert spelling.spell_text(PreTrainedTokenizerFast(tokenizer_object=words), "먹는") == ["▁먹", "는"]


def test_weighted_fertility_weighs_and_text_is_counted_by_characters_where_words_are_not_separated():
    for unit, before, units in (("word", " ", 4), ("character", "", 11)):
        cat, dinosaur = (len(BYTE_LEVEL.tokenize(before + w)) for w in ("the", "공룡"))
        assert fertility.weigh_fertility(BYTE_LEVEL, {"the": 3.0, "공룡": 1.0}, unit) == (3 * cat + dinosaur) / units
    assert fertility.choose_unit(["ハンバーガーを食べる恐竜はとても大きい"]) == "character"
    assert fertility.choose_unit(KOREAN) == fertility.choose_unit(["the cat"]) == "word"
