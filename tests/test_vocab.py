"""Merging: exact, reachable, English untouched, SentencePiece and HF alike, certified."""

import io
import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE, WordPiece
from transformers import PreTrainedTokenizerFast

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.models.loading import load_model, resize_model, save_model
from blossom.vocabulary.bases import read_base
from blossom.vocabulary.certificate import _clean, certify_merge, check_certificate, find_unmade_pieces, save_certificate
from blossom.vocabulary.closure import apply_merges, count_usage, find_halves, keep_pieces, rank_pieces, take_in_order
from blossom.vocabulary.donors import SPECIAL, clean_pieces, read_donor
from blossom.vocabulary.embeddings import subword_rows
from blossom.vocabulary.encoding import encode_lines, find_engine, make_test_lines
from blossom.vocabulary.fertility import measure_fertility
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.merging import merge_vocab, save_tokenizer, select_pieces
from blossom.vocabulary.pieces import add_word_frequencies, count_runs, script_pattern, split_characters, train_pieces
from blossom.vocabulary.spelling import BYTE_OF, is_whole, spell_text

HANGUL = script_pattern(["Hangul"])
SENTENCE = "햄버거를 먹는 공룡"


def lines_of(name):
    return fetch_asset(name).read_text(encoding="utf-8").splitlines()


KOREAN, ENGLISH = lines_of("smoke-ko"), lines_of("smoke-en")


def trained(name, size=150):
    base = read_base(name)
    counts = count_runs(base, KOREAN, HANGUL)
    return merge_vocab(base, train_pieces(base, counts, size)), counts


@pytest.fixture(scope="module", params=["tiny-byte-level", "tiny-sentencepiece"])
def merged(request):
    """A Korean vocabulary trained on the smoke text and merged, and the runs it was trained on."""
    return trained(request.param)


@pytest.fixture(scope="module")
def llama(real_files):
    return read_base(real_files / "tokenizers" / "llama" / "tokenizer.model")


@pytest.fixture(scope="module")
def kobert(real_files):
    return read_donor(real_files / "tokenizers" / "kobert" / "tokenizer_78b3253a26.model")


@pytest.fixture(scope="module")
def paper(llama, kobert):
    """The paper's merge: every KoBERT piece, those that cannot be made included."""
    return merge_vocab(llama, clean_pieces(llama, kobert, None)[0], "keep")


def fast_and_slow(made, folder):
    """The tokenizer after saving and reloading, as HF and as SentencePiece."""
    save_tokenizer(made, folder)
    slow = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return load_tokenizer(folder), slow


# ------------------------------------------------------------------------------------------------------ any merge


def test_old_ids_stay_and_new_ones_follow(merged):
    made, _ = merged
    vocabulary, old = made.tokenizer.get_vocab(), made.base.tokenizer.get_vocab()
    assert all(vocabulary[token] == i for token, i in old.items())
    assert [vocabulary[piece] for piece in made.pieces] == list(range(len(old), len(old) + len(made.pieces)))


def test_every_added_piece_can_be_made(merged):
    made, _ = merged
    assert made.unreachable == [] and find_unmade_pieces(made.base, made.tokenizer, made.pieces) == []


def test_english_ids_survive_a_hangul_only_merge(merged):
    made, _ = merged
    assert encode_lines(made.tokenizer, ENGLISH) == encode_lines(made.base.tokenizer, ENGLISH)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_without_hangul_keeps_its_ids(merged, text):
    made, _ = merged
    text = HANGUL.sub("", text)
    assert encode_lines(made.tokenizer, [text]) == encode_lines(made.base.tokenizer, [text])


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=0xD7A3, exclude_categories=["Cs", "Cc"])))
def test_any_text_comes_back(merged, text):
    made, _ = merged
    (ids,) = encode_lines(made.tokenizer, [text])
    (expected,) = _clean(made.base, [text])
    assert made.tokenizer.backend_tokenizer.decode(ids) == expected


def test_korean_gets_shorter_and_falls_back_less(merged):
    made, _ = merged
    before, after = (measure_fertility(t, KOREAN) for t in (made.base.tokenizer, made.tokenizer))
    assert after["tokens"] < 0.5 * before["tokens"] and after["byte_fallback_share"] < 0.2 * before["byte_fallback_share"]


def test_counting_by_pieces_agrees_with_the_tokenizer(merged):
    made, counts = merged
    run = max(counts, key=len)
    spelled, _ = apply_merges(made.base.segment(run), {piece: i for i, piece in enumerate(made.pieces)})
    assert spelled == [t.value for t in made.tokenizer.backend_tokenizer.model.tokenize(run)]


def test_saving_and_reloading_changes_nothing(merged, tmp_path):
    made, _ = merged
    save_tokenizer(made, tmp_path)
    again = load_tokenizer(tmp_path)
    assert encode_lines(again, KOREAN + ENGLISH) == encode_lines(made.tokenizer, KOREAN + ENGLISH)
    assert again.special_tokens_map == made.base.tokenizer.special_tokens_map


def test_the_chat_template_is_kept(tmp_path):
    shutil.copytree(fetch_asset("tiny-byte-level"), tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    base = read_base(tmp_path / "base")
    made = merge_vocab(base, train_pieces(base, count_runs(base, KOREAN, HANGUL), 20))
    save_tokenizer(made, tmp_path / "made")
    again = load_tokenizer(tmp_path / "made")
    assert again.apply_chat_template([{"role": "user", "content": "안녕"}], tokenize=False) == "안녕"


def test_tokens_added_behind_a_sentencepiece_model_keep_their_ids(tmp_path):
    shutil.copytree(fetch_asset("tiny-sentencepiece"), tmp_path / "base")
    tokenizer = load_tokenizer(tmp_path / "base")
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(tmp_path / "base")
    base = read_base(tmp_path / "base")
    made = merge_vocab(base, ["▁공룡"])
    assert made.tokenizer.pad_token_id == len(tokenizer) - 1 == 500
    assert made.tokenizer.convert_tokens_to_ids(made.pieces[0]) == 501


# ------------------------------------------------------------------------------------------------------ closure


def test_a_piece_without_a_way_is_kept_dropped_or_given_one():
    base = read_base("tiny-byte-level")
    asked = [base.piece(text) for text in ("대", "통", "령", "대통령")]
    made = {policy: merge_vocab(base, asked, policy) for policy in ("keep", "drop", "add")}
    whole = base.piece("대통령")
    assert made["keep"].unreachable == [whole]
    assert made["drop"].dropped == [whole] and whole not in made["drop"].pieces
    assert base.piece("대통") in made["add"].on_the_way and made["add"].unreachable == []
    spelled = {policy: len(encode_lines(m.tokenizer, ["대통령"])[0]) for policy, m in made.items()}
    assert spelled == {"keep": 3, "drop": 3, "add": 1}


def test_characters_come_before_what_is_made_of_them():
    base = read_base("tiny-sentencepiece")
    made = merge_vocab(base, ["▁공룡", "공"])
    assert made.pieces.index("공") < made.pieces.index("▁공룡") and "룡" in made.on_the_way


# ------------------------------------------------------------------------------------------------------ budget


def test_every_budget_is_closed_and_part_of_the_next(merged):
    made, counts = merged
    order, tokens = rank_pieces(made.base, made.pieces, counts)
    assert sorted(order) == sorted(made.pieces) and len(tokens) == len(order) + 1
    sizes = [len(order) // 8, len(order) // 3, len(order)]
    chosen = [select_pieces(made, order, size) for size in sizes]
    assert [len(c.pieces) for c in chosen] == sizes and all(c.unreachable == [] for c in chosen)
    assert set(chosen[0].pieces) < set(chosen[1].pieces) < set(chosen[2].pieces)


def test_the_curve_says_what_the_tokenizer_does(merged):
    made, counts = merged
    order, tokens = rank_pieces(made.base, made.pieces, counts)
    for size in (20, len(order) // 2, len(order)):
        chosen = select_pieces(made, order, size)
        real = count_usage(made.base, chosen.pieces, counts).total()
        assert tokens[len(order) - size] == pytest.approx(real, rel=0.02)
    assert tokens[-1] == sum(len(made.base.tokens(run)) * n for run, n in counts.items())
    assert tokens == sorted(tokens)


def test_a_budget_larger_than_the_donor_is_refused(merged):
    made, counts = merged
    order, _ = rank_pieces(made.base, made.pieces, counts)
    with pytest.raises(ValueError, match=f"added_pieces: {len(order) + 1} asked for, the donor gives {len(order)}"):
        select_pieces(made, order, len(order) + 1)


# ------------------------------------------------------------------------------------------------------ donors


def test_donor_pieces_are_cleaned_and_counted():
    base = read_base("tiny-byte-level")
    texts = ["먹", " 먹", "먹", "", " ", "\u1112\u1162\u11b7", "cat", "\x07가", b"\xea\xb0", "漢"]
    kept, removed = clean_pieces(base, texts, HANGUL)
    assert kept == [base.piece(t) for t in ("먹", " 먹", "햄")]
    assert removed == {
        "twice in the donor": 1,
        "empty or white space": 2,
        "not NFC (taken as NFC)": 1,
        "in another script": 2,
        "control or unassigned characters": 1,
        "part of a character": 1,
    }


def test_a_piece_that_the_base_splits_first_is_counted():
    base = read_base("tiny-byte-level")  # GPT-2's pre-tokenizer parts letters from digits
    assert clean_pieces(base, ["년", "10년"], None)[1] == {"split or rewritten by the base before merging": 1}


def test_donors_of_every_kind_are_read(tmp_path):
    (tmp_path / "v.json").write_text(json.dumps({"[UNK]": 0, "먹": 1, "##는": 2}), encoding="utf-8")
    assert read_donor(tmp_path / "v.json") == [" 먹", "는"]
    (tmp_path / "s.json").write_text(json.dumps({"▁먹": 1, "는": 0, "<pad>": 2}), encoding="utf-8")
    assert read_donor(tmp_path / "s.json") == ["는", " 먹"]
    byte_level = read_donor("tiny-byte-level")
    assert " the" in byte_level and b"\xff" in byte_level and "<|im_end|>" not in byte_level
    assert " the" in read_donor("tiny-sentencepiece")


def sentencepiece_model(folder, **settings):
    """A SentencePiece model of another kind, trained on the smoke text: the path of its file."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(fetch_asset("smoke-en")), model_writer=writer, vocab_size=300, minloglevel=2, **settings
    )
    (folder / "other.model").write_bytes(writer.getvalue())
    return folder / "other.model"


def test_a_unigram_base_is_refused_and_told_what_is_supported(tmp_path):
    unigram = sentencepiece_model(tmp_path, model_type="unigram", hard_vocab_limit=False)
    with pytest.raises(ValueError, match=r"other\.model: a unigram SentencePiece model .* supported bases: "):
        read_base(unigram)
    assert " the" in read_donor(unigram)  # as a donor it is fine


def test_a_base_that_loses_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="without byte fallback loses text"):
        read_base(sentencepiece_model(tmp_path, model_type="bpe"))


def test_a_base_that_is_no_bpe_is_refused(tmp_path):
    words = Tokenizer(WordPiece({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a WordPiece tokenizer cannot be merged into; supported bases"):
        read_base(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no tokenizer; expected tokenizer\.json or tokenizer\.model"):
        read_base(tmp_path / "empty")


def test_frequencies_weigh_as_much_as_the_corpus(tmp_path):
    (tmp_path / "f.tsv").write_text("공룡\t0.25\ncat\t0.75\n", encoding="utf-8")
    base = read_base("tiny-byte-level")
    counts = count_runs(base, ["먹는 먹는 먹는 먹는"], HANGUL)
    more = add_word_frequencies(base, counts, HANGUL, tmp_path / "f.tsv")
    assert more - counts == {base.piece("공룡"): 1, base.piece(" 공룡"): 1}


def test_another_script_works_the_same():
    base = read_base("tiny-byte-level")
    pattern = script_pattern(["Cyrillic"])
    counts = count_runs(base, ["кот и пёс, кот и кот"] * 3, pattern)
    made = merge_vocab(base, train_pieces(base, counts, 50))
    assert spell_text(made.tokenizer, "кот и") == ["кот", "▁и"]


def test_japanese_is_three_scripts_and_a_long_vowel_mark():
    base = read_base("tiny-byte-level")
    pattern = script_pattern(["Hiragana", "Katakana", "Han"])
    lines = ["ハンバーガーを食べる恐竜", "コーヒーを飲む人々", "ハンバーガーとコーヒー", "OK, AIの恐竜"] * 3
    made = merge_vocab(base, train_pieces(base, count_runs(base, lines, pattern), 200))
    assert spell_text(made.tokenizer, "コーヒー") == ["コーヒー"]
    assert measure_fertility(made.tokenizer, lines)["byte_fallback_share"] == 0
    assert encode_lines(made.tokenizer, ENGLISH) == encode_lines(base.tokenizer, ENGLISH)
    assert find_unmade_pieces(base, made.tokenizer, made.pieces) == []


# ------------------------------------------------------------------------------------------------------ certificate


@pytest.fixture
def certified(tmp_path):
    """A stage's folder with a model and the certificate that its tokenizer was given."""
    made, _ = trained("tiny-byte-level", 30)
    model, _ = load_model("tiny-byte-level")
    resize_model(model, made.base.size, subword_rows(model.get_input_embeddings().weight.data, made.base_ids()))
    save_model(model, made.tokenizer, tmp_path / "model")
    made_of = {"donor": "trained", "removed": {"in another script": 3}}
    certificate = certify_merge(
        made, tmp_path / "model", KOREAN, ENGLISH, ["Hangul"], "add", made_of, [fetch_asset("smoke-ko")]
    )
    save_certificate(certificate, tmp_path)
    return tmp_path, certificate


def test_a_certificate_holds_and_is_found(certified):
    folder, certificate = certified
    assert certificate["holds"] and all(check["found"] == 0 for check in certificate["checks"].values())
    counted = certificate["metrics"]
    assert certificate["rows"] == counted["vocabulary"] == counted["base_vocabulary"] + counted["added"]
    assert counted["korean_tokens_after"] < counted["korean_tokens_before"]
    assert counted["english_tokens_after"] == counted["english_tokens_before"]
    assert check_certificate(folder / "model") == certificate
    page = (folder / "certificate.html").read_text(encoding="utf-8")
    assert "Holds." in page and "in another script" in page and certificate["sha256"]["outputs"]["tokenizer.json"] in page


def test_a_model_without_its_certificate_is_refused(certified, tmp_path):
    folder, certificate = certified
    with pytest.raises(ValueError, match=r"no certificate\.json"):
        check_certificate(fetch_asset("tiny-byte-level"))
    load_tokenizer("tiny-byte-level").save_pretrained(folder / "model")
    with pytest.raises(ValueError, match="not the one that .* certifies"):
        check_certificate(folder / "model")
    certificate["checks"]["unreachable pieces"]["found"] = 7
    paths.write_json(folder / "certificate.json", certificate | {"holds": False})
    with pytest.raises(ValueError, match="unreachable pieces: 7"):
        check_certificate(folder / "model")


def test_a_certificate_sees_what_is_wrong(tmp_path):
    base = read_base("tiny-byte-level")
    asked = [base.piece(text) for text in ("대", "통", "령", "대통령", "wkx", "wk")]
    made = merge_vocab(base, asked, "keep")
    save_tokenizer(made, tmp_path)
    found = certify_merge(made, tmp_path, KOREAN, ["wkx ran"], ["Hangul"], "add", {})
    assert not found["holds"]
    assert found["checks"]["unreachable pieces"] == {"found": 1, "refuses": True}
    assert found["checks"]["English lines whose ids changed"] == {"found": 1, "refuses": True}
    told = certify_merge(made, tmp_path, KOREAN, ["wkx ran"], [], "keep", {})
    assert told["holds"] and told["checks"]["unreachable pieces"] == {"found": 1, "refuses": False}


# ------------------------------------------------------------------------------- the paper's merge, on the real files


def test_the_papers_numbers(paper, llama, kobert):
    assert llama.size == 32000 and len(paper.pieces) == 7478 and len(paper.tokenizer) == 39478
    assert sum(any("가" <= c <= "힣" for c in piece) for piece in paper.pieces) == 7050
    assert spell_text(paper.tokenizer, SENTENCE) == "▁ 햄 버 거 를 ▁먹 는 ▁공 룡".split()
    assert "먹는" not in paper.tokenizer.get_vocab() and " 먹는" not in kobert and "먹는" not in kobert


def test_the_papers_merge_has_over_1000_dead_rows_and_ours_none(paper, llama, kobert):
    assert len(paper.unreachable) > 1000 and "▁대통령" in paper.unreachable
    closed = merge_vocab(llama, clean_pieces(llama, kobert, None)[0], "add")
    proto = llama.extend_proto(closed.pieces)
    proto.normalizer_spec.add_dummy_prefix = False
    slow = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    assert all(len(ids) == 1 for ids in slow.encode([piece.replace("▁", " ") for piece in closed.pieces]))
    assert len(closed.on_the_way) < 1155  # missing prefixes, the simpler way to close it


def texts_in(folder):
    """Every line of text in the folder of public files."""

    def strings(value):
        if isinstance(value, str):
            yield from value.splitlines()
        elif isinstance(value, (list, dict)):
            for part in value.values() if isinstance(value, dict) else value:
                yield from strings(part)

    for file in sorted(Path(folder).rglob("*.*")):
        if file.suffix == ".json" and "tokenizers" not in file.parts:
            yield from strings(json.loads(file.read_text(encoding="utf-8")))
        elif file.suffix in (".jsonl", ".tsv", ".txt"):
            yield from file.read_text(encoding="utf-8").splitlines()


def test_sentencepiece_and_the_fast_tokenizer_agree_on_all_text(paper, real_files, tmp_path):
    fast, slow = fast_and_slow(paper, tmp_path)
    lines = list(dict.fromkeys(texts_in(real_files)))
    assert len(lines) > 50_000
    ids = encode_lines(fast, lines, itself=True)
    assert [line for line, a, b in zip(lines, ids, slow.encode(lines), strict=True) if a != b] == []
    assert encode_lines(fast, lines) == ids  # by the engine, where there is one


def test_and_on_20000_made_up_strings(paper, tmp_path):
    fast, slow = fast_and_slow(paper, tmp_path)
    some = st.one_of(
        st.text(), st.text(st.sampled_from("  ▁가나다▁는먹 aab=-.\n햄")), st.text(st.characters(max_codepoint=0x2FF))
    )

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(some, min_size=100, max_size=100))
    def agree(texts):
        ids = slow.encode(texts)
        assert encode_lines(fast, texts, itself=True) == ids == encode_lines(fast, texts)

    find_engine(fast)
    agree()


def test_a_hangul_only_merge_leaves_english_as_it_was(llama, kobert, real_files):
    made = merge_vocab(llama, clean_pieces(llama, kobert, HANGUL)[0])
    english = (real_files / "text" / "wikitext2_valid_en.txt").read_text(encoding="utf-8").splitlines()
    assert encode_lines(made.tokenizer, english) == encode_lines(llama.tokenizer, english)


def test_the_chosen_pieces_save_more_than_the_donors_first_on_held_out_text(llama, kobert, real_files):
    sentences = [
        row["premise"] for row in json.loads((real_files / "benchmarks" / "klue" / "nli_dev_even.json").read_text())
    ]
    made = merge_vocab(llama, clean_pieces(llama, kobert, HANGUL)[0])
    counts, heldout = (count_runs(llama, part, HANGUL) for part in (sentences[:1000], sentences[1000:]))
    order, _ = rank_pieces(llama, made.pieces, counts)
    asked = clean_pieces(llama, kobert, HANGUL)[0]
    halves = find_halves(llama, made.pieces)
    for size in (1000, 2000, 4000):
        ours = count_usage(llama, keep_pieces(made.pieces, order, size), heldout).total()
        first = count_usage(llama, take_in_order(halves, asked, size), heldout).total()
        assert ours < first


def test_merging_32000_and_8002_takes_under_3_seconds(real_files, tmp_path):
    """From the files to the saved tokenizers, in seconds of this process: other work on the machine counts little."""
    import time

    files = real_files / "tokenizers"
    started = time.process_time()
    base = read_base(files / "llama" / "tokenizer.model")
    donor = read_donor(files / "kobert" / "tokenizer_78b3253a26.model")
    save_tokenizer(merge_vocab(base, clean_pieces(base, donor, None)[0], "add"), tmp_path)
    assert time.process_time() - started < 3


def test_kobert_goes_into_a_byte_level_base_too(kobert):
    base = read_base("tiny-byte-level")
    made = merge_vocab(base, clean_pieces(base, kobert, HANGUL)[0])
    assert spell_text(made.tokenizer, SENTENCE) == "햄 버 거 를 ▁먹 는 ▁공 룡".split()
    assert find_unmade_pieces(base, made.tokenizer, made.pieces) == []


def test_units_of_a_byte_level_base_are_whole_characters():
    base = read_base("tiny-byte-level")
    units = split_characters(base, base.piece(" 먹는"))
    assert [base.bytes(unit).decode() for unit, _ in units][-2:] == ["먹", "는"]
    assert all(is_whole(base.bytes(steps[-1])) for _, steps in units if steps)


def test_special_names_are_no_pieces():
    assert all(SPECIAL.fullmatch(name) for name in ("[UNK]", "<s>", "</s>", "[unused0]".upper(), "<|endoftext|>"))
    assert not SPECIAL.fullmatch("<3") and not SPECIAL.fullmatch("[가]")


# ------------------------------------------------------------------------------------------------- other kinds of base


def gemma_style(folder):
    """A SentencePiece BPE as Gemma's: no space before a text, runs of spaces and markers as symbols of their own."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(fetch_asset("smoke-en")),
        model_writer=writer,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["<start_of_turn>", "\n\n", "▁▁", "▁▁▁▁"],
        minloglevel=2,
    )
    (folder / "gemma.model").write_bytes(writer.getvalue())
    return folder / "gemma.model"


def test_a_base_like_gemma_is_merged_exactly(tmp_path):
    base = read_base(gemma_style(tmp_path))
    made = merge_vocab(base, train_pieces(base, count_runs(base, KOREAN, HANGUL), 50))
    fast, slow = fast_and_slow(made, tmp_path / "made")
    lines = ["a  b", "    x", "\n\n\nhi", "<start_of_turn>먹는", " lead", *make_test_lines(300), *KOREAN]
    assert encode_lines(fast, lines) == slow.encode(lines)


def llama3_style(folder):
    """A byte-level BPE as Llama-3's: its own splitting, whole words looked up first, special tokens behind the rest."""
    made = Tokenizer(BPE(ignore_merges=True))
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.normalizer = normalizers.NFC()
    made.train(
        [str(fetch_asset("smoke-en"))],
        trainers.BpeTrainer(vocab_size=600, initial_alphabet=list(BYTE_OF)),
    )
    made.add_special_tokens(["<|end_of_text|>", "<|eot_id|>"])
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|eot_id|>").save_pretrained(folder)
    return folder


def test_a_base_like_llama_3_is_merged(tmp_path):
    base = read_base(llama3_style(tmp_path / "base"))
    assert base.size == 602
    made = merge_vocab(base, train_pieces(base, count_runs(base, KOREAN, HANGUL), 50))
    save_tokenizer(made, tmp_path / "made")
    found = certify_merge(made, tmp_path / "made", KOREAN, ENGLISH, ["Hangul"], "add", {})
    assert found["holds"], found["checks"]
    again = load_tokenizer(tmp_path / "made")
    assert again.eos_token_id == 601 and again.convert_tokens_to_ids(made.pieces[0]) == 602
