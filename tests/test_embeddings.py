"""Starting rows: the right means, the right counts, clear errors."""

import pytest
import torch

from blossom.models import bits, loading
from blossom.vocabulary.embeddings import calibrate_rows, distill_rows, random_rows, subword_rows

OLD = torch.tensor([[2.0, 4.0], [4.0, 8.0], [0.0, 1.0]])


def test_subword_rows_are_the_mean_of_the_rows_that_spelled_them():
    assert subword_rows(OLD, [[0, 1], [2]]).tolist() == [[3.0, 6.0], [0.0, 1.0]]
    assert subword_rows(OLD, []).shape == (0, 2)


@pytest.mark.parametrize(("pieces", "named"), [([[0], []], r"\[1\]"), ([[3]], r"0\.\.2, found 3"), ([[-1]], "found -1")])
def test_a_piece_without_base_tokens_is_named(pieces, named):
    with pytest.raises(ValueError, match=named):
        subword_rows(OLD, pieces)


def test_rows_keep_the_dtype_and_random_ones_the_seed_and_the_tables_spread():
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
