"""The loss and its gradients, by every path of the learner, against transformers' own forward pass."""

import shutil

import numpy as np
import pytest
import torch

from blossom.models.loading import first_new_row
from blossom.training import packing, tables, varlen
from blossom.training.cpu import attention, compiled_ops, decoder, torch_ops
from blossom.training.learner import Learner
from tests.tiny import BASES, MODES, adapted

QKV, MOST = ("q_proj", "k_proj", "v_proj"), ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KINDS = [*((b, m, QKV) for b in BASES for m in MODES), (BASES[0], MODES[0], MOST), (BASES[0] + " untied", MODES[0], QKV)]
IDS = torch.randint(10, 480, (2, 30), generator=torch.Generator().manual_seed(5))
SEGMENTS = torch.cat([torch.tensor([[1] * 25 + [0] * 5]), torch.tensor([[1] * 11 + [2] * 19])])


def library_loss(model, ids, labels, segments):
    logits = model(input_ids=ids, use_cache=False, **decoder.segment_arguments(segments)).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def gradients(model):
    found = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {n: (g.to_dense() if g.is_sparse else g) for n, g in found.items()}


def assert_same(found, expected, near=1e-4):
    """Every gradient equals the expected one of its name, to `near` of its largest number."""
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=near * gradient.abs().max().item() + 1e-6), name


@pytest.mark.parametrize(("base", "mode", "targets"), KINDS)
def test_loss_and_gradients_are_the_library_s(base, mode, targets, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 8)  # queries by blocks that do not divide the length
    monkeypatch.setitem(tables.TILE, "cpu", (7, 16))  # and tiles of the loss that do not divide the sizes
    labels = IDS.clone()
    labels[0, :12] = packing.IGNORED
    reference, ours = adapted(base, mode, targets).train(), adapted(base, mode, targets)
    expected = library_loss(reference, IDS, labels, SEGMENTS)
    expected.backward()
    learner = Learner(ours, "float32")
    loss = learner(IDS, labels, SEGMENTS)
    loss.backward()
    assert bool(learner.fast) == (mode != "full") and learner.scale == 1 and learner.quick
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same(gradients(ours), gradients(reference))
    assert all(p.grad is None for p in ours.parameters() if not p.requires_grad)


def test_layers_with_a_wrong_gradient_are_not_used(monkeypatch):
    backward = torch_ops.TorchOps.swiglu_backward
    monkeypatch.setattr(torch_ops.TorchOps, "swiglu_backward", lambda self, *given: 0.5 * backward(self, *given))
    learner = Learner(adapted(targets=MOST), "float32")
    assert learner.fast is None and "transformers' own forward pass is used" in learner.note


def test_a_model_that_magnifies_rounding_is_trained_quickly_all_the_same():
    model = adapted(targets=MOST)
    for weight in (p for name, p in model.named_parameters() if "proj" in name and "lora" not in name):
        weight.data *= 30  # transformers' own gradients move by two thirds when their input is rounded otherwise
    assert Learner(model, "bfloat16").fast


@pytest.mark.parametrize("targets", [("q_proj", "k_proj", "v_proj"), ("gate_proj", "down_proj")])
def test_large_activations_lose_no_more_than_in_torch_s_own_bfloat16(targets, monkeypatch):
    ids = torch.randint(10, 480, (3, 37), generator=torch.Generator().manual_seed(3))  # sizes that the products pad

    def run(precision, checkpointing=False):
        model = adapted("tiny-sentencepiece", targets=targets)
        inner = model.get_base_model().model
        down, table = inner.layers[0].mlp.down_proj, inner.embed_tokens.token_adapter.get_base_layer()
        getattr(down, "base_layer", down).weight.data[[3, 40]] *= 3e3
        table.weight.data[:, 17] *= 3e3
        sizes = []
        inner.norm.register_forward_pre_hook(lambda _, given: sizes.append(given[0].detach().flatten(0, -2).abs().amax(0)))
        loss = Learner(model, precision, checkpointing)(ids, ids, items=ids.numel())
        loss.backward()
        return loss.item(), gradients(model), sizes[-1]

    loss, exact, sizes = run("float32")
    assert sizes.max() > 500 * sizes.median()
    found = {"torch's own": run("bfloat16", checkpointing=True), "compiled": run("bfloat16")}
    monkeypatch.setattr(compiled_ops, "pick_ops", lambda *_: torch_ops.TorchOps())
    found["torch_ops.py"] = run("bfloat16")
    apart = {k: np.mean([float((g[n] - e).norm() / e.norm()) for n, e in exact.items()]) for k, (_, g, _) in found.items()}
    for name in ("compiled", "torch_ops.py"):
        assert found[name][0] == pytest.approx(loss, rel=1e-3)
        assert apart[name] < 1.1 * apart["torch's own"] < 0.15, apart


PASSES = "add_rms norm rms_backward swiglu swiglu_backward heads softmax exponentials".split()


@pytest.mark.parametrize("name", PASSES)
def test_compiled_passes_are_torch_s(name):
    library = compiled_ops.compile_kernels()
    if library is None:
        pytest.skip("no C compiler here")
    torch.manual_seed(0)
    start = torch.tensor([[0, 0, 0, 3, 3, 3, 3], [0, 0, 0, 0, 0, 0, 6]], dtype=torch.int32)
    angles = torch.rand(2, 7, 8)
    s = decoder.Shape(2, 7, 6, 3, 8, 8**-0.5, angles.cos(), angles.sin(), start, torch.bfloat16)
    wide, narrow = (lambda *n: torch.randn(*n) * 3), (lambda *n: torch.randn(*n).bfloat16())
    x, y, weight, rms = wide(5, 16), narrow(5, 16), narrow(16), torch.rand(5, 1) + 0.5
    given = {
        "add_rms": lambda ops: ops.add_rms(x.clone(), y, weight, 1e-5, s),
        "norm": lambda ops: [ops.norm(y, rms, weight, s)],
        "rms_backward": lambda ops: ops.rms_backward(y, x, y.flip(0), rms, weight, s),
        "swiglu": lambda ops: [ops.swiglu(torch.cat([y, -y], -1), s)],
        "swiglu_backward": lambda ops: [ops.swiglu_backward(y, torch.cat([y.flip(0), y], -1), s)],
        "heads": lambda ops: [*ops.split_heads(qkv, s), ops.join_heads(*ops.split_heads(qkv, s), s)],
        "softmax": lambda ops: [p := ops.softmax(scores.clone(), s, 2), ops.softmax_backward(scores.flip(0), p, s, 2)],
        "exponentials": lambda ops: ops.exponentials(y.repeat(1, 8)),
    }[name]
    qkv, scores = narrow(14, 12 * 8), wide(6, 4 * 2, 6)  # scores of the queries 2 to 5
    for ours, theirs in zip(given(compiled_ops.CompiledOps(library)), given(torch_ops.TorchOps()), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.allclose(ours.float(), theirs.float(), rtol=1.6e-2, atol=1.6e-2 * theirs.abs().max().item()), name


@pytest.fixture
def load_kernels(monkeypatch, capfd):
    """`load_kernels(cache, compiler)`: whether the kernels are loaded, as a new process does it, and what is said."""

    def load(cache, compiler=""):
        monkeypatch.setenv("BLOSSOM_CACHE", str(cache))
        monkeypatch.setenv("BLOSSOM_COMPILER", str(compiler))
        return bool(compiled_ops.compile_kernels.__wrapped__()), capfd.readouterr().err

    return load


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here")
def test_a_damaged_or_foreign_library_is_compiled_anew_and_never_loaded(load_kernels, tmp_path):
    assert load_kernels(tmp_path) == (True, "")
    (library,) = tmp_path.glob("kernels/*.so")
    library.rename(tmp_path / "loaded.so")  # which must not change
    library.write_bytes((tmp_path / "loaded.so").read_bytes()[:9000])
    loaded, said = load_kernels(tmp_path)
    assert loaded and "not what was stored there" in said
    library.with_name(f"{library.name}.sha256").unlink()
    assert "not what was stored there" in load_kernels(tmp_path)[1]
    loaded, said = load_kernels(library)  # a file, where a folder is meant
    assert loaded and said.count("cannot be written. Set BLOSSOM_CACHE") == 1


@pytest.mark.parametrize("does", ["exit 1", "exit 0", 'for last; do :; done; echo text > "$last"'])
def test_where_a_compiler_cannot_build_it_is_said_and_torch_used(does, load_kernels, tmp_path):
    (compiler := tmp_path / "cc").write_text(f"#!/bin/sh\n{does}\n")
    compiler.chmod(0o755)
    loaded, said = load_kernels(tmp_path / "cache", compiler)
    assert not loaded and "kernels.c is not compiled, torch is used" in said


@pytest.mark.parametrize("mode", ["lora+new-rows", "lora+embeddings"])
def test_gradients_add_up_whenever_their_memory_is_used_again(mode):
    model = adapted(mode=mode)
    learner, batches = Learner(model, "float32"), [torch.arange(a, a + 20)[None] for a in (10, 200, 440)]

    def gradient(*ids):
        model.zero_grad()
        for loss in [learner(i, i) for i in ids]:  # all forward passes before the first way back
            loss.backward()
        return gradients(model)

    apart = [{name: g.clone() for name, g in gradient(i).items()} for i in batches]
    model.zero_grad()
    for i in batches:  # as with accumulation
        learner(i, i).backward()
    for together in (gradients(model), gradient(*batches)):
        for name, g in together.items():
            assert torch.allclose(g, sum(each[name] for each in apart), atol=1e-6 * g.abs().max()), name


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("checkpointing", [False, True])  # by hand, and by the library's layers
def test_an_anchored_sequence_learns_what_the_base_expects(base, checkpointing):
    ids = torch.randint(10, 480, (2, 20), generator=torch.Generator().manual_seed(5))
    labels, anchored = ids.clone(), torch.tensor([False, True])
    labels[:, :4] = packing.IGNORED
    model = adapted(base)
    with torch.no_grad(), model.disable_adapter():
        states = model.get_base_model().get_decoder()(input_ids=ids[1:]).last_hidden_state
        old = model.get_output_embeddings().weight[: first_new_row(model)]
        expected = torch.softmax(states @ old.T, -1)[0, 3:-1]
    logits = model(input_ids=ids).logits[:, 3:-1].log_softmax(-1)
    reference = -logits[0].gather(-1, labels[0, 4:, None]).sum() - (expected * logits[1, :, : len(old)]).sum()
    reference.backward()
    learner = Learner(adapted(base), "float32", checkpointing)
    loss = learner(ids, labels, anchored=anchored)
    loss.backward()
    assert np.isclose(loss.item(), reference.item(), rtol=1e-5)
    assert_same(gradients(learner.model), gradients(model))


def attend_each(q, k, v, ends, _, longest, other, *, scale, window_size, enable_gqa):
    """What `varlen_attn` computes on a GPU, one segment at a time."""
    assert window_size == (-1, 0) and longest == other == max(ends.diff().tolist())
    parts = [[x[a:b].transpose(0, 1) for x in (q, k, v)] for a, b in zip(ends, ends[1:], strict=False)]
    attend = torch.nn.functional.scaled_dot_product_attention
    return torch.cat([attend(*p, is_causal=True, scale=scale, enable_gqa=enable_gqa).transpose(0, 1) for p in parts])


@pytest.mark.parametrize("base", BASES)
def test_attention_by_the_segments_lengths_is_attention_with_their_mask(base, monkeypatch):
    models, calls = [adapted(base), adapted(base)], []
    losses = [Learner(models[0], "float32", activation_checkpointing=True)(IDS, IDS, SEGMENTS)]  # the library's layers
    losses[0].backward()
    monkeypatch.setattr(varlen, "varlen_attn", lambda *a, **k: calls.append(0) or attend_each(*a, **k))
    monkeypatch.setattr(decoder, "takes_lengths", lambda *_: True)
    losses.append(Learner(models[1], "float32", activation_checkpointing=True)(IDS, IDS, SEGMENTS))
    losses[1].backward()
    assert calls and losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    assert_same(gradients(models[1]), gradients(models[0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_flash_attention_by_lengths_is_as_near_as_the_mask_on_a_card():
    given = [x.cuda() for x in (IDS, IDS, SEGMENTS)]
    losses = [Learner(adapted().cuda(), precision)(*given).item() for precision in ("float32", "bfloat16")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
