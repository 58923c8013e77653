"""Models: bits per byte, adapters, saving and loading, and the starting rows of new tokens."""

import math
import shutil
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.models import adapters, bits, loading
from blossom.vocabulary.embeddings import calibrate_rows, distill_rows, random_rows, subword_rows
from tests.tiny import BASES, grown

LINES = ["Turn on the light.", "The door is open", "온도를 낮춥니다", "x"]
TINY = loading.load_model("tiny-byte-level")
MODES = list(product((*BASES, "tiny-byte-level untied"), ("lora+new-rows", "lora+embeddings", "lora")))


def test_bits_per_byte_is_the_code_length_of_the_text_in_any_order_and_batch():
    nats = bits.document_nats(*TINY, LINES)  # of each alone: test_packing.py
    assert bits.document_nats(*TINY, LINES, batch_tokens=40).tolist() == pytest.approx(nats.tolist(), rel=1e-5)
    expected = nats.sum().item() / math.log(2) / sum(len(line.encode()) for line in LINES)
    assert bits.bits_per_byte(*TINY, LINES) == pytest.approx(expected, rel=1e-5)
    assert bits.bits_per_byte(*TINY, LINES[::-1], batch_tokens=1) == pytest.approx(expected, rel=1e-5)


def test_a_line_longer_than_the_model_goes_in_the_same_parts_for_every_tokenizer():
    long = "문을 open the door, 🙂" * 200
    parts = list(bits.cut_text(long, longest := TINY[0].config.max_position_embeddings - 1))
    assert "".join(parts) == long and 1 < len(parts) < len(long.encode()) / longest * 2
    assert all(len(part.encode()) <= longest for part in parts) and all(part[0] == " " for part in parts[1:])
    assert list(bits.cut_text("가나🙂", 4)) == ["가", "나", "🙂"]
    found = [bits.document_nats(*TINY, lines).sum().item() for lines in ([long], parts)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    learned = GPT2LMHeadModel(GPT2Config(vocab_size=len(TINY[1]), n_positions=100, n_embd=32, n_layer=1, n_head=1)).eval()
    assert bits.bits_per_byte(learned, TINY[1], [long[:400]]) > 0 and bits.pad_width(97, learned) == 100
    with pytest.raises(ValueError, match="no lines"):
        bits.bits_per_byte(*TINY, [])


@pytest.mark.parametrize(("name", "start", "end"), zip(BASES, ("<|endoftext|>", "<s>"), (None, "</s>"), strict=True))
def test_a_document_starts_with_what_the_base_knows(name, start, end):
    tokenizer = loading.load_model(name)[1]
    ends = bits.end_token(tokenizer)
    assert tokenizer.convert_ids_to_tokens(bits.start_token(tokenizer)) == start
    assert (None if ends is None else tokenizer.convert_ids_to_tokens(ends)) == end


def test_new_rows_leave_the_old_ones_alone_and_a_saved_model_comes_back_with_its_record(tmp_path):
    model, tokenizer = grown("tiny-byte-level")
    first = loading.first_new_row(model)
    assert torch.equal(model.get_input_embeddings().weight[:first], TINY[0].get_input_embeddings().weight[:first])
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    loading.save_model(model, tokenizer, tmp_path / "model")
    again, _ = loading.load_model(tmp_path / "model")
    assert loading.first_new_row(again) == first == len(tokenizer) - 40
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert not list(tmp_path.rglob("*.bin"))  # no pickles


@pytest.mark.parametrize(("base", "mode"), MODES)
def test_what_learns_is_what_was_asked(base, mode):
    model, tokenizer = grown(base)
    tables = 1 if model.config.tie_word_embeddings else 2
    added = 2 * 4 * (3 * 64 + 64 + 32 + 32)  # layers, rank, A's and B's of q, k, v
    rows = {"lora+new-rows": 40, "lora": 0}.get(mode, len(tokenizer)) * 64 * tables
    total = sum(p.numel() for p in model.parameters())
    share = adapters.trainable_share(adapters.adapt_model(model, mode, rank=4))
    assert share["trained"] == added + rows and share["all"] == total + added, "each row counts once"


@pytest.mark.parametrize(("base", "mode"), MODES)
def test_merging_keeps_the_logits_and_the_ties(base, mode, tmp_path):
    model, tokenizer = grown(base)
    loading.save_model(model, tokenizer, tmp_path / "base")
    adapted = adapters.adapt_model(model, mode, rank=4)
    torch.manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.05
    ids = torch.arange(10, 40)[None]
    expected = adapted.eval()(ids).logits
    adapters.save_adapter(adapted, tmp_path / "adapter")
    targets = paths.read_json(tmp_path / "adapter" / "adapter_config.json")["target_modules"]
    assert targets == sorted(targets), "the same bytes in each process"
    merged = adapters.merge_adapter(adapters.read_adapter(tmp_path / "base", tmp_path / "adapter")[0], torch.float32)
    assert torch.allclose(merged(ids).logits, expected, atol=1e-4)
    loading.save_model(merged, tokenizer, tmp_path / "model")
    again, _ = loading.load_model(tmp_path / "model")
    assert torch.equal(again(ids).logits, merged(ids).logits)
    assert again.config.tie_word_embeddings == (base == "tiny-byte-level")


def test_a_saved_model_has_the_names_that_transformers_4_reads_and_anyone_may_read_its_files(tmp_path):
    model, tokenizer = grown("tiny-byte-level")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    model.config.rope_parameters = rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    loading.save_model(model, tokenizer, tmp_path / "model")
    config, written = (paths.read_json(tmp_path / "model" / f"{name}.json") for name in ("config", "tokenizer_config"))
    assert config["rope_theta"] == 5e5 and config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert config["torch_dtype"] == "float32" and loading.load_model(tmp_path / "model")[0].config.rope_parameters == rope
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast" and "extra_special_tokens" not in written
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert again.extra_special_tokens == ["<|im_start|>"] and again(LINES).input_ids == tokenizer(LINES).input_ids
    (tmp_path / "mine").touch()
    assert {f.stat().st_mode for f in (tmp_path / "model").iterdir()} == {(tmp_path / "mine").stat().st_mode}


def test_buffers_that_older_libraries_stored_as_weights_are_passed_over_and_float64_is_read_as_float32(tmp_path):
    loading.save_model(*TINY, tmp_path / "model")
    file, names = tmp_path / "model" / "model.safetensors", ("attn.masked_bias", "attn.causal_mask", "rotary.inv_freq")
    stored = {f"model.layers.0.{name}": torch.ones(2) for name in names} | {"model.embed_positions.weights": torch.ones(2)}
    save_file({name: weight.double() for name, weight in (load_file(file) | stored).items()}, file, {"format": "pt"})
    paths.write_json(file.parent / "config.json", paths.read_json(file.parent / "config.json") | {"dtype": "float64"})
    model = loading.load_model(file.parent)[0]
    assert torch.equal(model.lm_head.weight, TINY[0].lm_head.weight) and model.dtype == torch.float32


@pytest.mark.parametrize("base", BASES)
def test_a_special_token_behind_the_last_row_gets_one_and_another_token_is_refused(base, tmp_path):
    folder, (model, tokenizer) = shutil.copytree(fetch_asset(base), tmp_path / "base"), loading.load_model(base)
    size = tokenizer.add_special_tokens({"pad_token": "<pad>"}) + model.config.vocab_size - 1
    tokenizer.save_pretrained(folder)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        old, new = (getattr(m, get)().weight for m in (model, loading.load_model(folder)[0]))
        assert torch.equal(new[:size], old) and torch.allclose(new[size:], old.mean(0), atol=1e-6) and len(new) == size + 1
    tokenizer.add_tokens(["문을"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=f"{size + 2} tokens and the model {size} embedding rows; take a tokenizer"):
        loading.load_model(folder)


OLD = torch.tensor([[2.0, 4.0], [4.0, 8.0], [0.0, 1.0]])


def test_a_model_that_a_card_has_no_room_for_is_computed_on_the_cpu(monkeypatch, capsys):
    for name, value in {"is_available": True, "mem_get_info": (9e4, 24e9), "empty_cache": None}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert loading.load_model("tiny-byte-level")[0].device.type == "cpu" and loading.pick_device().type == "cuda"
    assert "GB and the card has 0.0 GB free: the CPU computes" in capsys.readouterr().out


@pytest.mark.parametrize(("pieces", "named"), [([[0], []], r"\[1\]"), ([[3]], r"0\.\.2, found 3"), ([[-1]], "found -1")])
def test_a_piece_without_base_tokens_is_named(pieces, named):
    with pytest.raises(ValueError, match=named):
        subword_rows(OLD, pieces)


def test_subword_rows_are_means_of_those_that_spelled_them_and_rows_keep_the_dtype_and_random_ones_the_seed_and_spread():
    assert subword_rows(OLD, [[0, 1], [2]]).tolist() == [[3.0, 6.0], [0.0, 1.0]]
    assert subword_rows(OLD, []).shape == (0, 2)
    old = OLD.to(torch.bfloat16)
    draws = [random_rows(old, 3, seed) for seed in (0, 0, 1)]
    assert draws[0].dtype == subword_rows(old, [[0]]).dtype == torch.bfloat16
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    wide = torch.randn(500, 64, generator=torch.Generator().manual_seed(1)) * 0.3
    assert random_rows(wide, 500, 0).std().item() == pytest.approx(0.3, rel=0.05)


def test_calibrated_rows_expect_tokens_as_often_as_they_come():
    torch.manual_seed(0)
    old, rows = torch.randn(20, 8), torch.randn(4, 8)
    hidden = torch.randn(4000, 8) * 0.3 + torch.tensor([4.0, 0, 0, 0, 0, 0, 0, 0])  # a large common part
    counts = torch.tensor([5780] + 19 * [0] + [2000, 200, 20, 0])  # in a text twice as long as the states are of
    made = calibrate_rows(old, rows, hidden, counts, rounds=8)
    expected = (hidden @ torch.cat([old, made]).T).softmax(-1).sum(0)[20:]
    assert expected[:3].tolist() == pytest.approx([1000, 100, 10], rel=0.15) and expected[3] < 2
    moved = made - rows
    direction = hidden.mean(0) / hidden.mean(0).norm()
    assert torch.allclose(moved, (moved @ direction)[:, None] * direction, atol=1e-4)  # along the mean state only


def test_there_is_a_state_for_every_token_that_is_predicted():
    model, _ = loading.load_model("tiny-byte-level")
    hidden, alone = (bits.collect_states(model, documents) for documents in ([[0, 7], [0, 5, 6]], [[0, 7]]))
    assert hidden.shape == (3, model.config.hidden_size) and torch.allclose(hidden[:1], alone, atol=1e-5)


def test_distilled_rows_read_new_tokens_more_like_their_spelling_and_the_model_stays():
    model, _ = loading.load_model("tiny-byte-level")
    loading.untie_model(model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    old, draw = model.get_input_embeddings().weight.detach(), torch.Generator().manual_seed(0)
    pieces = torch.randint(600, (20, 3), generator=draw).tolist()
    documents = [[0, *ids] for ids in torch.randint(580, 620, (200, 12), generator=draw).tolist()]
    rows = subword_rows(old, pieces)
    made, errors = distill_rows(model, old, rows, pieces, documents, length=16)
    again = distill_rows(model, old, made, pieces, documents, length=16)[1]
    assert made.shape == rows.shape and 0.1 < sum(again) / len(again) < 0.9 * errors[0]
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_bfloat16_is_chosen_where_its_matmuls_are_faster(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name, flag in product(("Intel", "AMD"), ("amx_bf16", "avx512_bf16", "avx2")):
        faster = flag == "amx_bf16" or (name, flag) == ("AMD", "avx512_bf16")
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name, flag=flag: {"cpu_name": name, flag: True})
        assert loading.pick_dtype("auto") == (torch.bfloat16 if faster else torch.float32)
