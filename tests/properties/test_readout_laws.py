"""Laws of the readout kernel, against float64 formulas and a plain stable sort."""

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from layerwise.models.head import Head, OutputTransform
from layerwise.readout.kernel import Readout, exact_top_k, read_out


def head_of(vocab: int, *, bias: float | None = None, softcap: float | None = None) -> Head:
    """A head whose logits are its input, so that a test chooses the logits."""
    shift = None if bias is None else torch.full((vocab,), bias)
    return Head(nn.Identity(), torch.eye(vocab), shift, OutputTransform(softcap=softcap))


@st.composite
def logits(draw, least: int = 1, most: int = 330) -> np.ndarray:
    """Rows of logits: spread out, full of ties, all equal, or with one that dwarfs the others."""
    shape = (draw(st.integers(1, 5)), draw(st.integers(least, most)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["spread", "ties", "equal", "huge", "tiny differences"]))
    if kind == "ties":
        return rng.integers(-2, 3, shape).astype(np.float32)
    if kind == "equal":
        return np.full(shape, rng.normal() * 10, dtype=np.float32)
    values = rng.normal(scale=draw(st.sampled_from([0.01, 1, 30])), size=shape)
    if kind == "huge":
        values[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = 1e4
    if kind == "tiny differences":
        values = 100 + values * 1e-3
    return values.astype(np.float32)


def read(rows: np.ndarray, reference: np.ndarray, **options) -> Readout:
    head = options.pop("head", None) or head_of(rows.shape[-1])
    return read_out(torch.tensor(rows)[None], head, reference=torch.tensor(reference)[None], **options)


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@given(logits(), st.integers(1, 400))
def test_top_k_is_a_stable_sort_cut_off(values, k):
    top, ids = exact_top_k(torch.tensor(values), k)
    for row, (got_values, got_ids) in enumerate(zip(top.tolist(), ids.tolist(), strict=True)):
        expected = sorted(range(values.shape[1]), key=lambda i: (-values[row, i], i))[:k]
        assert got_ids == expected
        assert got_values == values[row, expected].tolist()


@given(st.integers(70, 700), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_top_k_breaks_ties_across_blocks_by_lower_id(vocab, k, seed):
    """The k-th and the next value often tie here, in different blocks or in the tail."""
    rng = np.random.default_rng(seed)
    values = np.zeros((3, vocab), dtype=np.float32)
    for row in values:
        row[rng.choice(vocab, size=k + 3, replace=False)] = rng.integers(1, 3, k + 3)
    _, ids = exact_top_k(torch.tensor(values), k)
    expected = np.argsort(-values, axis=1, kind="stable")[:, :k]
    assert ids.tolist() == expected.tolist()


@given(logits(), st.integers(0, 2**32 - 1), st.integers(1, 90))
def test_statistics_are_the_textbook_ones(values, seed, k):
    vocab = values.shape[1]
    rng = np.random.default_rng(seed)
    reference = rng.normal(scale=5, size=vocab).astype(np.float32)
    targets = rng.integers(0, vocab, 3).tolist()
    mass_ids = sorted(set(rng.integers(0, vocab, 4).tolist()))
    got = read(values, reference, top_k=k, targets=[targets], mass_ids=[mass_ids])
    p, q = log_softmax(values), log_softmax(reference)
    # float32 against float64: a logit of 1e4 has steps of 1e-3, but differences to the row's
    # maximum are exact to 1e-7 of themselves. Measured over 4,000 examples: under 5e-7 of 1 + size.
    near: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    bits = math.log(2)
    np.testing.assert_allclose(got.entropy_bits[0], -(np.exp(p) * p).sum(-1) / bits, **near)
    np.testing.assert_allclose(got.kl_to_final_bits[0], (np.exp(p) * (p - q)).sum(-1) / bits, **near)
    np.testing.assert_allclose(got.kl_from_final_bits[0], (np.exp(q) * (q - p)).sum(-1) / bits, **near)
    np.testing.assert_allclose(got.total_variation[0], abs(np.exp(p) - np.exp(q)).sum(-1) / 2, **near)
    np.testing.assert_allclose(got.mass[0], np.exp(p[:, mass_ids]).sum(-1), **near)
    np.testing.assert_allclose(got.target_logprobs[0], p[:, targets], **near)
    np.testing.assert_allclose(got.top_logprobs[0], -np.sort(-p, axis=1)[:, :k], **near)
    above = (values[:, None, :] > values[:, targets, None]).sum(-1)
    equal = (values[:, None, :] == values[:, targets, None]).sum(-1)
    assert got.target_ranks[0].tolist() == (above + 1).tolist()
    assert got.target_ties[0].tolist() == (equal - 1).tolist()


@given(logits(least=2, most=200))
def test_a_row_equal_to_the_reference_has_no_distance_from_it(values):
    got = read(values, values[0])
    assert got.kl_to_final_bits[0, 0] < 1e-5
    assert got.kl_from_final_bits[0, 0] < 1e-5
    assert got.total_variation[0, 0] < 1e-6


@given(logits(least=2, most=200))
def test_bounds_hold(values):
    got = read(values, values[-1], targets=[[0]], mass_ids=[[0, 1]])
    vocab = values.shape[1]
    assert bool((got.entropy_bits >= 0).all())
    assert bool((got.entropy_bits <= math.log2(vocab) + 1e-4).all())
    assert bool((got.kl_to_final_bits >= 0).all())
    assert bool((got.kl_from_final_bits >= 0).all())
    assert bool(((got.total_variation >= 0) & (got.total_variation <= 1 + 1e-5)).all())
    assert bool(((got.target_ranks >= 1) & (got.target_ranks <= vocab)).all())
    assert bool((got.mass <= 1 + 1e-5).all())
    # Pinsker: TV² ≤ KL/2 in nats, for either direction.
    for kl in (got.kl_to_final_bits, got.kl_from_final_bits):
        assert bool((got.total_variation**2 <= kl * math.log(2) / 2 + 1e-5).all())


@given(logits(least=2, most=200), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(values, shift):
    plain = read(values, values[0], targets=[[1]])
    moved = read(values, values[0], targets=[[1]], head=head_of(values.shape[1], bias=shift))
    # Adding the constant rounds each logit to float32 once more: up to 1e4 · 6e-8.
    near: dict[str, Any] = {"rtol": 1e-3, "atol": 2e-3}
    np.testing.assert_allclose(moved.entropy_bits, plain.entropy_bits, **near)
    np.testing.assert_allclose(moved.top_logprobs, plain.top_logprobs, **near)
    np.testing.assert_allclose(moved.target_logprobs, plain.target_logprobs, **near)
    np.testing.assert_allclose(moved.total_variation, plain.total_variation, **near)


@given(logits(least=2, most=200), st.integers(0, 2**32 - 1))
def test_renaming_the_tokens_renames_the_results(values, seed):
    order = np.random.default_rng(seed).permutation(values.shape[1])
    plain = read(values, values[0], targets=[order[:2].tolist()])
    moved = read(values[:, order], values[0][order], targets=[[0, 1]])
    np.testing.assert_allclose(moved.entropy_bits, plain.entropy_bits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved.kl_from_final_bits, plain.kl_from_final_bits, rtol=1e-5, atol=1e-5)
    assert moved.target_ranks.tolist() == plain.target_ranks.tolist()
    assert moved.target_ties.tolist() == plain.target_ties.tolist()
    assert moved.top_logprobs.tolist() == plain.top_logprobs.tolist() or np.allclose(
        moved.top_logprobs, plain.top_logprobs, atol=1e-5
    )


@given(logits(least=2, most=200), st.floats(1, 100))
def test_a_soft_cap_keeps_the_order_and_bounds_the_logits(values, cap):
    values = np.clip(values, -cap * 2, cap * 2)  # beyond that tanh is flat in float32 and makes ties
    capped = read(values, values[0], targets=[[0]], head=head_of(values.shape[1], softcap=cap))
    plain = read(values, values[0], targets=[[0]])
    assert bool((capped.target_ranks <= plain.target_ranks).all())
    spread = capped.top_logprobs[..., :1] - capped.target_logprobs
    assert bool((spread <= 2 * cap + 1e-3).all())


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_groups_and_rows_do_not_touch_one_another(groups, rows, seed):
    """Every cell equals the one that it gives alone, whatever else is read in the same call."""
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(groups, rows, 8, generator=draw)
    reference = torch.randn(groups, 8, generator=draw)
    head = Head(nn.Identity(), torch.randn(100, 8, generator=draw), None, OutputTransform())
    targets = [list(range(group % 3)) for group in range(groups)]
    mass = [list(range(group % 4)) for group in range(groups)]
    together = read_out(states, head, reference=reference, targets=targets, mass_ids=mass)
    for group in range(groups):
        alone = read_out(
            states[group : group + 1],
            head,
            reference=reference[group : group + 1],
            targets=targets[group : group + 1],
            mass_ids=mass[group : group + 1],
        )
        count = len(targets[group])
        for name in ("entropy_bits", "kl_to_final_bits", "kl_from_final_bits", "total_variation", "mass"):
            assert torch.allclose(getattr(together, name)[group], getattr(alone, name)[0], atol=1e-5)
        assert torch.allclose(together.target_logprobs[group, :, :count], alone.target_logprobs[0], atol=1e-5)
        assert torch.allclose(together.top_logprobs[group], alone.top_logprobs[0], atol=1e-5)
