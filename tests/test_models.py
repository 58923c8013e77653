import math
import shutil

import pytest
import torch

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.models.adapters import adapt_model, merge_adapter, save_adapter, trainable_share
from blossom.models.bits import bits_per_byte, end_token, start_token
from blossom.models.loading import RECORD, first_new_row, load_model, resize_model, save_model

LINES = ["Turn on the light.", "The door is open", "온도를 낮춥니다", "x"]
MODES = [(base, mode) for base in ("tiny-byte-level", "tiny-sentencepiece") for mode in ("lora+new-rows", "lora+embeddings")]


def grown(name, rows=24):
    """A tiny model whose last `rows` tokens count as new, with random rows for them."""
    model, tokenizer = load_model(name)
    first = len(tokenizer) - rows
    resize_model(
        model, first, torch.randn(rows, model.config.hidden_size, generator=torch.Generator().manual_seed(0)) * 0.02
    )
    return model, tokenizer


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny-byte-level")


def test_bits_per_byte_is_the_code_length_of_the_text(tiny):
    model, tokenizer = tiny
    nats = 0.0
    for line in LINES:
        ids = torch.tensor([[start_token(tokenizer), *tokenizer(line, add_special_tokens=False).input_ids]])
        with torch.no_grad():
            steps = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
        nats -= steps.gather(1, ids[0, 1:, None]).sum().item()
    expected = nats / math.log(2) / sum(len(line.encode()) for line in LINES)
    assert bits_per_byte(model, tokenizer, LINES) == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_does_not_depend_on_batches_or_order(tiny):
    whole = bits_per_byte(*tiny, LINES)
    assert bits_per_byte(*tiny, LINES[::-1], batch_tokens=1) == pytest.approx(whole, rel=1e-5)


def test_a_line_longer_than_the_model_goes_in_pieces(tiny):
    model, tokenizer = tiny
    assert 0 < bits_per_byte(model, tokenizer, ["open the door " * 600]) < 20


def test_no_lines_are_refused(tiny):
    with pytest.raises(ValueError, match="no lines"):
        bits_per_byte(*tiny, [])


@pytest.mark.parametrize(
    ("name", "start", "end"), [("tiny-byte-level", "<|endoftext|>", None), ("tiny-sentencepiece", "<s>", "</s>")]
)
def test_a_document_starts_with_what_the_base_knows(name, start, end):
    tokenizer = load_model(name)[1]
    ends = end_token(tokenizer)
    assert tokenizer.convert_ids_to_tokens(start_token(tokenizer)) == start
    assert (None if ends is None else tokenizer.convert_ids_to_tokens(ends)) == end


def test_new_rows_leave_the_old_ones_alone(tiny):
    model, tokenizer = grown("tiny-byte-level")
    first = first_new_row(model)
    assert torch.equal(model.get_input_embeddings().weight[:first], tiny[0].get_input_embeddings().weight[:first])
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_saved_model_comes_back_with_its_record(tmp_path):
    model, tokenizer = grown("tiny-byte-level")
    save_model(model, tokenizer, tmp_path / "model")
    again, _ = load_model(tmp_path / "model")
    assert first_new_row(again) == first_new_row(model) == len(tokenizer) - 24
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert not list(tmp_path.rglob("*.bin"))  # no pickles


def test_another_tokenizer_is_refused_at_loading(tmp_path):
    save_model(*grown("tiny-byte-level"), tmp_path / "model")
    record = paths.read_json(tmp_path / "model" / RECORD)
    paths.write_json(tmp_path / "model" / RECORD, record | {"tokenizer_sha256": "0" * 64})
    with pytest.raises(ValueError, match="do not belong together .tokenizer_sha256: saved with 000"):
        load_model(tmp_path / "model")


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path, tiny):
    folder = shutil.copytree(fetch_asset("tiny-sentencepiece"), tmp_path / "model")
    tiny[1].save_pretrained(folder)  # 600 tokens for 500 rows
    with pytest.raises(ValueError, match="600 tokens and the model 500 embedding rows"):
        load_model(folder)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    model, tokenizer = grown("tiny-byte-level")
    model.get_input_embeddings().weight.data[3, 3] = float("nan")
    with pytest.raises(ValueError, match="not finite, first model.embed_tokens"):
        save_model(model, tokenizer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("base", "mode"), MODES)
def test_what_learns_is_what_was_asked(base, mode):
    model, tokenizer = grown(base)
    tables = 1 if model.config.tie_word_embeddings else 2
    adapters = 2 * 4 * (3 * 64 + 64 + 32 + 32)  # layers, rank, A's and B's of q, k, v
    rows = (24 if mode == "lora+new-rows" else len(tokenizer)) * 64 * tables
    total = sum(p.numel() for p in model.parameters())
    share = trainable_share(adapt_model(model, mode, rank=4))
    assert share["trained"] == adapters + rows
    assert share["all"] == total + adapters + (24 * 64 * tables if mode == "lora+new-rows" else 0)


@pytest.mark.parametrize(("base", "mode"), MODES)
def test_merging_keeps_the_logits_and_the_ties(base, mode, tmp_path):
    model, tokenizer = grown(base)
    save_model(model, tokenizer, tmp_path / "base")
    adapted = adapt_model(model, mode, rank=4)
    torch.manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.05
    ids = torch.arange(10, 40)[None]
    expected = adapted.eval()(ids).logits
    save_adapter(adapted, tmp_path / "adapter")
    assert merge_adapter(tmp_path / "base", tmp_path / "adapter", tmp_path / "model") < 1e-4
    again, _ = load_model(tmp_path / "model")
    assert torch.allclose(again(ids).logits, expected, atol=1e-4)
    assert again.config.tie_word_embeddings == (base == "tiny-byte-level")


def test_projections_that_are_not_there_are_named():
    model, _ = load_model("tiny-byte-level")
    with pytest.raises(ValueError, match="lora_targets: the base has no query; it has down_proj, .*q_proj"):
        adapt_model(model, "lora+embeddings", targets=["query", "k_proj"])


def test_new_rows_need_new_rows():
    model, _ = load_model("tiny-byte-level")
    with pytest.raises(ValueError, match="'lora.new-rows' needs a model with added rows"):
        adapt_model(model, "lora+new-rows")
