"""Merging: exact, reachable, English untouched, SentencePiece and HF alike, certified."""

import io
import random
import shutil
import time
from collections import Counter

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE, WordPiece
from transformers import PreTrainedTokenizerFast

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.models.loading import load_model, resize_model, save_model
from blossom.vocabulary import bases, closure, embeddings, encoding, loading, merging, pieces, spelling
from blossom.vocabulary import certificate as certificates
from tests.cases import read_cases

HANGUL = pieces.script_pattern(["Hangul"])
TINY = bases.read_base("tiny-byte-level")
KOREAN, ENGLISH = (fetch_asset(name).read_text(encoding="utf-8").splitlines() for name in ("smoke-ko", "smoke-en"))
TEXTS = {"korean": KOREAN[:50], "training_korean": KOREAN[50:], "english": ENGLISH}


def train_and_merge(base, size, lines=KOREAN, pattern=HANGUL):
    return merging.merge_vocab(base, pieces.train_pieces(base, pieces.count_runs(base, lines, pattern), size))


@pytest.fixture(scope="module", params=["tiny-byte-level", "tiny-sentencepiece"])
def merged(request):
    return train_and_merge(bases.read_base(request.param), 150)


@pytest.fixture(scope="module")
def ranked(merged):
    counts = pieces.count_runs(merged.base, KOREAN, HANGUL)
    return counts, *closure.rank_pieces(merged.base, merged.pieces, counts)


@pytest.fixture(scope="module")
def kobert(real_files):
    return pieces.read_donor(real_files / "tokenizers" / "kobert" / "tokenizer_78b3253a26.model")


@pytest.fixture(scope="module")
def paper(real_files, kobert):
    llama = bases.read_base(real_files / "tokenizers" / "llama" / "tokenizer.model")
    return merging.merge_vocab(llama, pieces.clean_pieces(llama, kobert, None)[0], "keep")


def fast_and_slow(made, folder):
    merging.save_tokenizer(made, folder)
    return loading.load_tokenizer(folder), sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def test_old_ids_stay_new_ones_follow_and_every_added_piece_can_be_made(merged):
    vocabulary, old = merged.tokenizer.get_vocab(), merged.base.tokenizer.get_vocab()
    assert all(vocabulary[token] == i for token, i in old.items())
    assert [vocabulary[piece] for piece in merged.pieces] == list(range(len(old), len(old) + len(merged.pieces)))
    assert merged.unreachable == [] and certificates.find_unmade_pieces(merged.base, merged.tokenizer, merged.pieces) == []


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_without_hangul_keeps_its_ids_and_any_text_comes_back(merged, text):
    other = HANGUL.sub("", text)
    assert encoding.encode_lines(merged.tokenizer, [other]) == encoding.encode_lines(merged.base.tokenizer, [other])
    (ids,), (expected,) = encoding.encode_lines(merged.tokenizer, [text]), certificates._clean(merged.base, [text])
    assert merged.tokenizer.backend_tokenizer.decode(ids) == expected


def test_tokens_added_behind_a_sentencepiece_model_keep_their_ids_and_characters_come_before_their_words(tmp_path):
    shutil.copytree(fetch_asset("tiny-sentencepiece"), tmp_path / "base")
    file = tmp_path / "base" / "tokenizer.json"  # one of its pieces has another name, as in InternLM2
    file.write_text(file.read_text(encoding="utf-8").replace("<0xFF>", "<|im_start|>"), encoding="utf-8")
    tokenizer = loading.load_tokenizer(tmp_path / "base")
    tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": ["<|im_start|>"]})
    tokenizer.save_pretrained(tmp_path / "base")
    made = merging.merge_vocab(bases.read_base(tmp_path / "base"), ["▁공룡", "공"])
    assert made.pieces.index("공") < made.pieces.index("▁공룡") and "룡" in made.on_the_way
    assert made.tokenizer.pad_token_id == len(tokenizer) - 1 == 500
    assert made.tokenizer.convert_tokens_to_ids(made.pieces[0]) == 501
    assert made.tokenizer("<|im_start|>").input_ids[-1] == made.tokenizer.convert_tokens_to_ids("<|im_start|>") == 258
    del (proto := loading.read_sentencepiece(tmp_path / "base" / "tokenizer.model")).pieces[400:]  # others made it larger
    with pytest.raises(ValueError, match="100 tokens of tokenizer.json, like .*, are others in tokenizer.model; put"):
        bases.SentencePieceBase("base", proto, loading.load_tokenizer("tiny-sentencepiece"))


def test_a_piece_that_no_merge_makes_is_kept_dropped_or_given_its_steps():
    asked = [TINY.piece(text) for text in ("대", "통", "령", "대통령")]
    made = {policy: merging.merge_vocab(TINY, asked, policy) for policy in ("keep", "drop", "add")}
    whole = TINY.piece("대통령")
    assert made["keep"].unreachable == [whole]
    assert made["drop"].dropped == [whole] and whole not in made["drop"].pieces
    assert TINY.piece("대통") in made["add"].on_the_way and made["add"].unreachable == []
    spelled = {policy: len(encoding.encode_lines(m.tokenizer, ["대통령"])[0]) for policy, m in made.items()}
    assert spelled == {"keep": 3, "drop": 3, "add": 1}


def test_every_budget_is_closed_and_part_of_the_next(merged, ranked):
    _, order, reads = ranked
    assert sorted(order) == sorted(merged.pieces) and len(reads) == len(order)
    sizes = [len(order) // 8, len(order) // 3, len(order)]
    chosen = [merging.select_pieces(merged, order, reads, size) for size in sizes]
    assert [len(c.pieces) for c in chosen] == sizes and all(c.unreachable == [] for c in chosen)
    assert set(chosen[0].pieces) < set(chosen[1].pieces) < set(chosen[2].pieces)


def test_a_piece_is_kept_when_the_text_reads_it_often_enough(merged, ranked):
    counts, order, reads = ranked
    for often in (0, 2, 5, 20):
        kept = merging.select_pieces(merged, order, reads, 0, often).pieces
        least, used = len(order) - len(kept), closure.count_usage(merged.base, kept, counts)
        assert often <= reads[least] == pytest.approx(used[order[least]], rel=0.1)
        assert all(count < often for count in reads[:least]) and reads[least:] == sorted(reads[least:])
    with pytest.raises(ValueError, match=f"min_reads: no piece is read 9999 times, at most {reads[-1]}"):
        merging.select_pieces(merged, order, reads, 0, 9999)


def test_donor_pieces_are_cleaned_and_counted():
    texts = ["먹", " 먹", "먹", "", " ", "\u1112\u1162\u11b7", "cat", "\x07가", b"\xea\xb0", "漢"]
    kept, removed = pieces.clean_pieces(TINY, texts, HANGUL)
    assert kept == [TINY.piece(t) for t in ("먹", " 먹", "햄")]
    assert removed == read_cases(__file__)["removed"]
    split = {"split or rewritten by the base before merging": 1}  # GPT-2's pre-tokenizer separates letters from digits
    assert pieces.clean_pieces(TINY, ["년", "10년"], None)[1] == split


def test_donors_of_every_kind_are_read():
    byte_level = pieces.read_donor("tiny-byte-level")
    assert " the" in byte_level and b"\xff" in byte_level and "<|im_end|>" not in byte_level
    assert " the" in pieces.read_donor("tiny-sentencepiece")


def train_sentencepiece(folder, **settings):
    writer = io.BytesIO()
    settings = {"vocab_size": 300, "minloglevel": 2} | settings
    sentencepiece.SentencePieceTrainer.train(input=str(fetch_asset("smoke-en")), model_writer=writer, **settings)
    (folder / "other.model").write_bytes(writer.getvalue())
    return folder / "other.model"


def test_bases_that_nothing_can_be_merged_into_are_refused_and_a_file_of_tiktoken_is_passed_over(tmp_path):
    unigram = train_sentencepiece(tmp_path, model_type="unigram", hard_vocab_limit=False)
    assert " the" in pieces.read_donor(unigram)  # as a donor it is fine
    with pytest.raises(ValueError, match=r"other\.model: a unigram SentencePiece model .* supported bases: "):
        bases.read_base(unigram)
    with pytest.raises(ValueError, match="without byte fallback loses text"):
        bases.read_base(train_sentencepiece(tmp_path, model_type="bpe"))
    folder = shutil.copytree(fetch_asset("tiny-byte-level"), tmp_path / "tiktoken")
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")  # as in Llama-3's repository: tokenizer.json says the same
    assert bases.read_base(folder).kind == "byte-level"
    words = Tokenizer(WordPiece({"[UNK]": 0, "the": 1, "##는": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path / "words")
    assert pieces.read_donor(tmp_path / "words") == [" the", "는"]
    with pytest.raises(ValueError, match="a WordPiece tokenizer cannot be merged into; supported bases"):
        bases.read_base(tmp_path / "words")


def test_frequencies_weigh_as_much_as_the_corpus(tmp_path):
    (tmp_path / "f.tsv").write_text("공룡\t0.125\ncat\t0.75\n공\u1105\u116d\u11bc\t0.125\n", encoding="utf-8")
    counts = pieces.count_runs(TINY, ["먹는 먹는 먹는 먹는"], HANGUL)
    more = pieces.add_word_frequencies(TINY, counts, HANGUL, tmp_path / "f.tsv")
    assert more - counts == {TINY.piece("공룡"): 1, TINY.piece(" 공룡"): 1}


@pytest.fixture
def certified(tmp_path):
    made = train_and_merge(TINY, 30)
    model, _ = load_model("tiny-byte-level")
    resize_model(model, TINY.size, embeddings.subword_rows(model.get_input_embeddings().weight.data, made.base_ids()))
    save_model(model, made.tokenizer, tmp_path / "model")
    details, inputs = {"donor": "trained", "removed": {"in another script": 3}}, [fetch_asset("smoke-ko")]
    certificate = certificates.certify_merge(made, tmp_path / "model", TEXTS, ["Hangul"], "add", details, inputs)
    certificates.save_certificate(certificate, tmp_path)
    return tmp_path, certificate


def test_a_certificate_holds_and_is_found(certified):
    folder, certificate = certified
    assert certificate["holds"] and all(check["found"] == 0 for check in certificate["checks"].values())
    counted = certificate["metrics"]
    assert certificate["rows"] == counted["vocabulary"] == counted["base_vocabulary"] + counted["added"]
    for when, tokenizer in (("before", "tiny-byte-level"), ("after", folder / "model")):
        assert counted[f"korean_tokens_{when}"] == encoding.count_tokens(loading.load_tokenizer(tokenizer), KOREAN[:50])
    assert counted["korean_tokens_after"] < counted["korean_tokens_before"]
    assert counted["english_tokens_after"] == counted["english_tokens_before"]
    assert certificates.check_certificate(folder / "model") == certificate
    page = (folder / "certificate.html").read_text(encoding="utf-8")
    assert "in another script" in page and certificate["sha256"]["outputs"]["tokenizer.json"] in page and "Piece" not in page
    assert all(page.count(f"<{tag}") == page.count(f"</{tag}>") > 0 for tag in ("tr", "td")), "a cell without its end"


def test_a_model_without_its_certificate_is_refused(certified):
    folder, certificate = certified
    with pytest.raises(ValueError, match=r"no certificate\.json"):
        certificates.check_certificate(fetch_asset("tiny-byte-level"))
    loading.load_tokenizer("tiny-byte-level").save_pretrained(folder / "model")
    with pytest.raises(ValueError, match="not the one that .* certifies"):
        certificates.check_certificate(folder / "model")
    certificate["checks"]["unreachable pieces"]["found"] = 7
    paths.write_json(folder / "certificate.json", certificate | {"holds": False})
    with pytest.raises(ValueError, match="unreachable pieces: 7"):
        certificates.check_certificate(folder / "model")


def test_a_certificate_sees_what_is_wrong(tmp_path):
    made = merging.merge_vocab(TINY, [TINY.piece(text) for text in ("대", "통", "령", "대통령", "wkx", "wk")], "keep")
    merging.save_tokenizer(made, tmp_path)
    found = certificates.certify_merge(made, tmp_path, TEXTS | {"english": ["wkx ran"]}, ["Hangul"], "add", {})
    reported = ("unreachable pieces", "English lines whose ids changed")
    assert not found["holds"] and all(found["checks"][name] == {"found": 1, "refuses": True} for name in reported)
    quoting = {"english": ["The word 대통령 means president."]}
    assert certificates.certify_merge(made, tmp_path, quoting, ["Hangul"], "keep", {})["holds"]  # a quoted word may change
    for scripts in ([], ["Hangul", "Latn"]):
        kept = certificates.certify_merge(made, tmp_path, {"english": ["wkx ran"]}, scripts, "keep", {})
        assert kept["holds"] and all(kept["checks"][name] == {"found": 1, "refuses": False} for name in reported)


def test_the_papers_numbers_and_its_over_1000_unreachable_pieces_where_ours_has_none(paper, kobert):
    llama = paper.base
    assert llama.size == 32000 and len(paper.pieces) == 7478 and len(paper.tokenizer) == 39478
    assert sum(any("가" <= c <= "힣" for c in piece) for piece in paper.pieces) == 7050
    assert spelling.spell_text(paper.tokenizer, "햄버거를 먹는 공룡") == "▁ 햄 버 거 를 ▁먹 는 ▁공 룡".split()
    assert "먹는" not in paper.tokenizer.get_vocab() and " 먹는" not in kobert and "먹는" not in kobert
    assert len(paper.unreachable) > 1000 and "▁대통령" in paper.unreachable
    closed = merging.merge_vocab(llama, pieces.clean_pieces(llama, kobert, None)[0], "add")
    proto = llama.extend_proto(closed.pieces)
    proto.normalizer_spec.add_dummy_prefix = False
    slow = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    assert all(len(ids) == 1 for ids in slow.encode([piece.replace("▁", " ") for piece in closed.pieces]))
    assert len(closed.on_the_way) < 1155  # fewer than all missing prefixes


def test_sentencepiece_and_the_fast_tokenizer_agree(paper, real_files, tmp_path):
    fast, slow = fast_and_slow(paper, tmp_path)
    files = [f for f in sorted(real_files.rglob("*.*")) if f.suffix in (".txt", ".tsv", ".jsonl", ".json")]
    lines = [line for f in files for line in f.read_text(encoding="utf-8").splitlines() if len(line) < 2000][::8]
    draw, letters = random.Random(0), "  ▁가나다▁는먹 aab=-.\n햄"
    made_up = ["".join(draw.choices(letters, k=draw.randrange(30))) for _ in range(10_000)]
    odd = [*KOREAN, "", "  two  spaces ", "a<s>b", "<0x41>", "▁▁", "é", "가나다", "👩‍👩‍👧", "\x00\t\n"]
    lines = [*dict.fromkeys(lines), *made_up, *odd, *encoding.make_test_lines(5_000)]
    assert len(lines) > 20_000
    encoding.find_engine(fast)
    ids = encoding.encode_lines(fast, lines, itself=True)
    assert [line for line, a, b in zip(lines, ids, slow.encode(lines), strict=True) if a != b] == []
    assert encoding.encode_lines(fast, lines) == ids


def test_a_run_of_letters_without_spaces_takes_no_minute_and_gives_no_long_piece(merged):
    draw = random.Random(0)
    lines = ["ㅋ" * 9_000, "".join(draw.choices("".join(KOREAN).replace(" ", ""), k=9_000)), *KOREAN]
    begun = time.perf_counter()
    made = train_and_merge(merged.base, 200, lines)
    counts = pieces.count_runs(made.base, lines, HANGUL)
    _, reads = closure.rank_pieces(made.base, made.pieces, counts)
    assert time.perf_counter() - begun < 10 and reads == sorted(reads)  # joining by scanning took minutes
    assert max(len(made.base.bytes(piece).decode(errors="ignore")) for piece in made.pieces) <= 16
    ids = [made.tokenizer.get_vocab()[piece] for piece in made.pieces]
    encoded = Counter(i for line in encoding.encode_lines(made.tokenizer, lines) for i in line)
    used = closure.count_usage(made.base, made.pieces, counts)
    assert [used[piece] for piece in made.pieces] == [encoded[i] for i in ids]


def test_a_base_like_gemma_is_merged_exactly(tmp_path):
    symbols = ["<start_of_turn>", "\n\n", "▁▁", "▁▁▁▁"]
    kind = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 600, "user_defined_symbols": symbols}
    spaces = {"normalization_rule_name": "identity", "add_dummy_prefix": False, "remove_extra_whitespaces": False}
    made = train_and_merge(bases.read_base(train_sentencepiece(tmp_path, **kind, **spaces)), 50)
    fast, slow = fast_and_slow(made, tmp_path / "made")
    lines = ["a  b", "    x", "\n\n\nhi", "<start_of_turn>먹는", " lead", *encoding.make_test_lines(300), *KOREAN]
    assert encoding.encode_lines(fast, lines) == slow.encode(lines)


def test_a_base_like_llama_3_is_merged_and_keeps_its_chat_template(tmp_path):
    like = Tokenizer(BPE(ignore_merges=True))
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    like.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"), byte_level])
    like.decoder, like.normalizer = decoders.ByteLevel(), normalizers.NFC()
    like.train([str(fetch_asset("smoke-en"))], trainers.BpeTrainer(vocab_size=600, initial_alphabet=list(spelling.BYTE_OF)))
    like.add_special_tokens(["<|end_of_text|>", "<|eot_id|>"])
    own = {"eos_token": "<|eot_id|>", "chat_template": "{{ messages[0].content }}"}
    PreTrainedTokenizerFast(tokenizer_object=like, **own).save_pretrained(tmp_path / "base")
    base = bases.read_base(tmp_path / "base")
    made = train_and_merge(base, 50)
    merging.save_tokenizer(made, tmp_path / "made")
    found = certificates.certify_merge(made, tmp_path / "made", TEXTS, ["Hangul"], "add", {})
    assert base.size == 602 and found["holds"], found["checks"]
    again = loading.load_tokenizer(tmp_path / "made")
    assert again.eos_token_id == 601 and again.convert_tokens_to_ids(made.pieces[0]) == 602
    assert again.apply_chat_template([{"role": "user", "content": "안녕"}], tokenize=False) == "안녕"
