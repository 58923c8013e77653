"""Models of many architectures train and are measured as transformers computes them, or are refused before training."""

import copy
from types import SimpleNamespace

import pytest
import torch
from test_course import run_cell
from transformers import AutoConfig, AutoModelForCausalLM

from blossom.batch.estimate import RESERVE, count_operations, measure_size, training_bytes
from blossom.benchmark import texts
from blossom.common import paths
from blossom.generation.answers import generate_answers, stream_answer
from blossom.models import adapters, bits, loading
from blossom.training import learner, packing
from blossom.training.learner import Learner
from blossom.vocabulary import bases, certificate, embeddings, merging
from tests.cases import read_cases
from tests.test_learner import assert_same, gradients

CASES = read_cases(__file__)
KINDS = CASES["kinds"]
FAST, APART = ("llama", "qwen2", "mistral"), ("opt", "bloom", "openai-gpt")  # by our own layers; not apart in one row


def random_model(kind, adapted=True):
    torch.manual_seed(0)
    own = CASES["every"] | ({} if kind in ("gpt2", "bloom") else CASES["grouped"]) | (KINDS | CASES["uncached"])[kind]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind.strip(), **own))
    for parameter in model.parameters():  # norms other than 1, biases other than 0, and attention that matters
        parameter.data += torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.1)
    names = {name.split(".")[-1] for name, _ in model.named_modules()}
    targets = names & {"q_proj", "qkv_proj", "query_key_value", "c_attn", "q_a_proj", "query"}
    plain = kind in ("gemma", "olmo2") or not adapted
    return model if plain else adapters.adapt_model(model, "lora", rank=2, targets=targets)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_is_trained_and_measured_as_the_library_does_or_refused(kind, isolated):
    model, tokenizer = random_model(kind), loading.load_model("tiny-byte-level")[1]
    reference = copy.deepcopy(model).eval() if kind == "llama " else copy.deepcopy(model)
    if kind == "bert" or (isolated and kind in APART):
        told = "bert reads the tokens that it is to predict; take" if kind == "bert" else ".*set isolate_documents: false"
        with pytest.raises(ValueError, match=f"(base_model|isolate_documents): {told}"):
            Learner(model, "float32", isolated=isolated)
        return
    learner = Learner(model, "float32", isolated=isolated)
    assert bool(learner.fast) == (kind in FAST) == (not learner.note)
    ids = torch.randint(3, 600, (2, 16), generator=torch.Generator().manual_seed(5))
    ids[0, 3] = 0  # padding, whose row learns nothing as an input
    parts = [(0, 0, 16), (1, 0, 7), (1, 7, 16)] if isolated else [(0, 0, 16), (1, 0, 16)]
    labels, segments, expected = ids.clone(), torch.ones_like(ids), 0.0
    for row, start, end in parts:  # each document alone, by the library's own loss
        segments[row, start:], labels[row, start : start + 2] = start, packing.IGNORED
        given, own = ids[row : row + 1, start:end], labels[row : row + 1, start:end]
        expected += reference(input_ids=given, labels=own).loss * (end - start - 2)
    learner.eval() if kind == "llama " else learner.train()
    loss = learner(ids, labels, segments if isolated else None)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same(gradients(model), gradients(reference))
    line = "The door is open."
    ids = torch.tensor([[bits.start_token(tokenizer), *tokenizer(line).input_ids]])
    nats = -reference.eval()(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None]).sum().item()
    with learner.evaluation():
        assert bits.document_nats(learner.model, tokenizer, [line]).item() == pytest.approx(nats, rel=1e-5)
    learner.__exit__()
    assert bits.document_nats(model, tokenizer, [line]).item() == pytest.approx(nats, rel=1e-5)
    (item,) = texts.measure_texts(reference.bfloat16(), tokenizer, {"korean": [line]})
    assert item["nats"] == pytest.approx(nats, rel=0.03)
    assert {w.dtype for w in reference.parameters()} == {torch.bfloat16}  # norms too, after it


def test_half_precision_costs_a_measured_model_nothing_but_its_products():
    model, ids = random_model("llama", adapted=False).bfloat16(), torch.randint(3, 600, (4, 16))
    model.get_input_embeddings().weight.data *= 50  # as after many layers: sums far larger than what a layer adds

    def run(model):
        return model.get_decoder()(input_ids=ids).last_hidden_state.detach().float()

    exact, before = run(copy.deepcopy(model).float()), run(model)
    with texts.float32_residual(model):
        assert 10 * (run(model) - exact).norm() < (before - exact).norm()
    assert torch.equal(run(model), before)


@pytest.mark.parametrize("kind", CASES["estimated"])
def test_the_training_of_every_architecture_is_estimated(kind, smoke):
    p, config = smoke("03_bilingual_pretraining", english_anchor=0.0, trainable="full"), AutoConfig.for_model(kind)
    size = measure_size(config, p, new_rows=8)
    assert size.config.vocab_size == AutoConfig.for_model(kind).get_text_config().vocab_size + 8
    assert size.total / 2 < size.layers + size.tables <= size.total
    assert training_bytes(size, p, 2, 64, on_cpu=True) > RESERVE["cpu"] + 16 * size.total
    assert count_operations(size, p, 64) > 6 * size.layers


def test_a_model_that_sees_images_gets_rows_a_certificate_and_adapters_in_its_decoder(tmp_path):
    config = AutoConfig.for_model("gemma3", text_config=CASES["every"] | CASES["grouped"], **CASES["wrapped"])
    model = AutoModelForCausalLM.from_config(config)
    made = merging.merge_vocab(base := bases.read_base("tiny-byte-level"), [base.piece("온도")], "add")
    loading.resize_model(model, base.size, torch.zeros(len(made.pieces), 32))
    loading.save_model(model, made.tokenizer, tmp_path / "model")
    found = certificate.certify_merge(made, tmp_path / "model", {"korean": ["온도"]}, ["Hangul"], "add", {})
    assert found["holds"] and found["rows"] == base.size + len(made.pieces)
    model = loading.load_model(tmp_path / "model")[0]
    assert bits.document_nats(model, made.tokenizer, ["온도"]) > 0
    trained = [n for n, p in adapters.adapt_model(model, "lora+new-rows").named_parameters() if p.requires_grad]
    assert len(trained) == 13 and not [n for n in trained if "language_model" not in n]


@pytest.mark.parametrize("kind", CASES["old names"])
def test_transformers_4_reads_the_positions_of_a_saved_model_by_its_own_names(kind, tmp_path):
    own, expected = CASES["old names"][kind]
    config = AutoConfig.for_model(kind, **CASES["every"] | CASES["grouped"] | {"rope_parameters": own})
    _, tokenizer = loading.load_model("tiny-byte-level")
    loading.save_model(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path / "model")
    assert expected.items() <= paths.read_json(tmp_path / "model" / "config.json").items()
    assert loading.load_model(tmp_path / "model")[0].config.rope_parameters == config.rope_parameters


@pytest.mark.parametrize("kind", CASES["uncached"])
def test_an_answer_is_streamed_without_a_cache_of_keys(kind):
    model, tokenizer = random_model(kind, adapted=False).eval(), loading.load_model("tiny-byte-level")[1]
    settings = {"new_tokens": 8, "temperature": 0.0, "repetition_penalty": 1.0}
    streamed = "".join(stream_answer(model, tokenizer, [{"role": "user", "content": "The door"}], "newline", **settings))
    assert streamed.strip() == generate_answers(model, tokenizer, ["The door", "The door is open"], "newline", **settings)[0]


def test_a_model_is_measured_before_and_after_a_training_as_during_it():
    p = SimpleNamespace(base_model="tiny-byte-level", precision="bfloat16", activation_checkpointing=False, measured_bytes=9)
    base, texts = loading.fetch_asset(p.base_model), {"korean": ["먹는 물"]}
    whole, tokenizer = loading.load_model(base)
    expected = learner.measure_as_trained(p, *(loaded := loading.load_model(base)), texts)
    assert not loaded[0].training
    with Learner(adapters.adapt_model(whole, "lora"), p.precision) as during, during.evaluation():
        assert bits.measure_bits(during.model, tokenizer, texts) == pytest.approx(expected, rel=1e-6)
    given = {"p": p, "model": random_model("llama"), "draw_bytes": lambda lines, size: lines, "parent": base}
    given["text"] = given["texts"] = SimpleNamespace(heldout=lambda: texts)
    for start, p.quantize in ((base, "none"), (base, "nf4"), (paths.ROOT, "none")):  # in 4 bits it is another model
        found = run_cell("03_bilingual_pretraining", "bits_base = None", **given, start=start)["bits_base"]
        assert found == (None if (start, p.quantize) == (base, "none") else expected)
    assert run_cell("04_korean_lima_sft", "known = same", **given)["bits"]["before"] == expected


@pytest.mark.parametrize("kind", CASES["course"])
def test_the_notebooks_adapt_and_start_the_rows_of_any_architecture(kind):
    model, targets, seen = random_model(kind, adapted=False), CASES["course"][kind], []
    model.config.first_new_row, rows = 590, {"trainable": "lora" if kind == "phi" else "lora+new-rows"}
    p = SimpleNamespace(lora_rank=2, lora_alpha=4, lora_targets=targets, row_init="subword", bake_off_steps=1, **rows)
    adapted = run_cell("03_bilingual_pretraining", "LoraConfig(task_type", p=p, model=copy.deepcopy(model))["model"]
    expected = adapters.adapt_model(copy.deepcopy(model), rank=2, targets=targets, **rows)
    assert adapters.trainable_share(adapted) == adapters.trainable_share(expected)
    tables = [model.get_input_embeddings().weight.detach().clone()] * (2 - model.config.tie_word_embeddings)
    given = {"p": p, "quick": model, "tables": tables, "base": SimpleNamespace(size=600), "ids": [[7, 9], [8]]}
    given["starts"] = {"subword": [embeddings.subword_rows(table, given["ids"]) for table in tables]}
    given |= {"contexts": [[0, 601, 5, 600, 6]], "longer": [[0, 601, 5, 600, 6]], "seen": torch.ones(602)}
    layer = loading.find_layers(model)[0]
    layer.register_forward_pre_hook(lambda _, args, more: seen.append([*args, *more.values()][0]), with_kwargs=True)
    starts = run_cell("02_vocab_merge", "def calibrate", **given)["starts"]
    assert starts.keys() == {"subword"} | (set() if kind in ("gemma2", "phi") else {"calibrated", "distilled"})
    model.get_decoder()(input_ids=torch.tensor([[0, 0, 8, 5, 7, 9, 6]]))  # as the base spells it
    assert "distilled" not in starts or any(x.shape == seen[-1].shape and x.allclose(seen[-1]) for x in seen[:-1])


@pytest.mark.parametrize("kind", ["gemma2", "llama "])
def test_an_anchored_sequence_learns_what_the_base_without_dropout_expects_from_the_library_s_own_logits(kind):
    model, ids = random_model(kind), torch.arange(3, 19)[None]
    with torch.no_grad(), model.disable_adapter():
        expected = model.eval()(input_ids=ids).logits[:, :-1].softmax(-1)
    for name, parameter in model.named_parameters():
        parameter.data += 0.1 * ("lora_B" in name)
    torch.manual_seed(0)  # of the trained model's dropout
    reference = -(expected * model.train()(input_ids=ids).logits[:, :-1].log_softmax(-1)).sum().item()
    learner = Learner(model, "float32")
    torch.manual_seed(0)
    loss = learner(ids, ids, anchored=torch.tensor([True]))
    assert model.training
    assert loss.item() == pytest.approx(reference, rel=1e-5)


def test_new_rows_of_a_head_with_a_bias_get_none_and_are_not_trained_alone():
    model, rows = random_model("phi").unload(), torch.zeros(20, 32)
    loading.resize_model(model, 590, rows, rows)
    assert not model.lm_head.bias[590:].any() and model.lm_head.bias[:590].all()
    with pytest.raises(ValueError, match=r"trainable: .* lose the bias .* take lora\+embeddings, lora or full"):
        adapters.adapt_model(model, "lora+new-rows", targets=["q_proj"])
