"""What each change makes of a site's values, beside what it says."""

import numpy as np
import pytest
import scipy.linalg
import torch

from layerwise.errors import EditError
from layerwise.interventions import changes
from layerwise.sites import Site

STREAM = Site(2, "resid_post")
PATTERN = Site(1, "pattern", 0)


@pytest.fixture
def values():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vectors():
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def test_only_chosen_positions_change(values, vectors):
    edits = [
        changes.zero(STREAM, (1, 3)),
        changes.scale(STREAM, -2.0, (1, 3)),
        changes.put(STREAM, vectors[:1], (1, 3)),
        changes.add(STREAM, vectors[0], (1, 3)),
        changes.project_out(STREAM, vectors, (1, 3)),
        changes.exchange(STREAM, vectors[:2], (1, 3)),
    ]
    for edit in edits:
        before = values.clone()
        changed = edit.apply(values)
        assert torch.equal(values, before), "what it is given stays"
        assert (changed != values).any(-1).tolist() == [False, True, False, True, False], edit.what
        assert edit.apply(values).shape == values.shape


def test_each_does_what_its_name_says(values, vectors):
    assert changes.zero(STREAM).apply(values).count_nonzero() == 0
    assert torch.equal(changes.scale(STREAM, 1.5).apply(values), values * 1.5)
    assert torch.equal(changes.add(STREAM, vectors[0]).apply(values), values + vectors[0])
    assert torch.equal(changes.put(STREAM, vectors, (4, 0, 2)).apply(values)[[4, 0, 2]], vectors)
    assert torch.equal(changes.put(STREAM, vectors[:1]).apply(values), vectors[:1].expand(5, 8))


def test_projecting_out_leaves_what_scipy_finds_orthogonal(values, vectors):
    kernel = scipy.linalg.null_space(vectors.double().numpy())
    expected = values.double().numpy() @ kernel @ kernel.T
    for directions in (vectors, torch.cat([vectors, vectors.sum(0, keepdim=True)])):  # dependent ones add nothing
        assert np.allclose(changes.project_out(STREAM, directions).apply(values), expected, atol=1e-6)


def test_exchanging_swaps_two_products_and_moves_no_further_than_it_must(values, vectors):
    a, b = vectors[:2]
    changed = changes.exchange(STREAM, torch.stack([a, b])).apply(values)
    assert torch.allclose(changed @ a, values @ b, atol=1e-5)
    assert torch.allclose(changed @ b, values @ a, atol=1e-5)
    kernel = torch.from_numpy(scipy.linalg.null_space(vectors[:2].numpy()))
    assert torch.allclose((changed - values) @ kernel, torch.zeros(5, 6), atol=1e-5)
    again = changes.exchange(STREAM, torch.stack([a, b]))
    assert torch.allclose(again.apply(changed), values, atol=1e-5), "twice is nothing"
    offsets = torch.tensor([0.5, -2.0])
    moved = changes.exchange(STREAM, torch.stack([a, b]), offsets=offsets).apply(values)
    assert torch.allclose(moved @ a + 0.5, values @ b - 2, atol=1e-4)
    assert torch.allclose(moved @ b - 2, values @ a + 0.5, atol=1e-4)


def test_of_vectors_of_one_length_it_is_the_coefficients_that_are_exchanged(values, vectors):
    """As Gurnee et al. (2026) exchange them: coefficients by the pseudo-inverse, the rest as it was."""
    unit = (vectors[:2] / vectors[:2].norm(dim=1, keepdim=True)).double()
    coefficients = values.double() @ torch.linalg.pinv(unit)
    wanted = values.double() + (coefficients.flip(-1) - coefficients) @ unit
    assert torch.allclose(changes.exchange(STREAM, unit).apply(values).double(), wanted, atol=1e-5)


def test_cut_keys_get_no_weight_as_if_they_had_been_masked():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).tril()
    mask = torch.full((5, 5), -torch.inf).triu(1)
    pattern = (scores + mask).softmax(-1)
    changed = changes.cut(PATTERN, (2, 4), (0, 3)).apply(pattern)
    cut = mask.clone()
    cut[[[2], [4]], [0, 3]] = -torch.inf
    assert torch.allclose(changed, (scores + cut).softmax(-1), atol=1e-6)
    assert torch.equal(changed[[0, 1, 3]], pattern[[0, 1, 3]])


def test_of_a_query_that_sees_nothing_else_no_weight_is_left():
    assert changes.cut(PATTERN, (0,), (0,)).apply(torch.eye(3))[0].tolist() == [0, 0, 0]
    almost_all = torch.tensor([[1.0, 1e-9]])
    assert changes.cut(PATTERN, None, (0,)).apply(almost_all).tolist() == [[0, 1]]


def test_of_a_query_that_sees_little_else_the_rest_is_as_if_it_had_been_masked():
    scores = torch.tensor([[40.0, 39.0, 18.0, 17.0]])
    masked = scores.index_fill(1, torch.tensor([0, 1]), -torch.inf).softmax(-1)
    assert torch.allclose(changes.cut(PATTERN, None, (0, 1)).apply(scores.softmax(-1)), masked, atol=1e-6)


def test_weight_that_goes_to_no_token_is_kept_apart():
    """As of gpt-oss, whose softmax has a place more: logits log 1, log 2, and of the sink log 5."""
    changed = changes.cut(PATTERN, None, (0,)).apply(torch.tensor([[1 / 8, 2 / 8]]))
    assert torch.allclose(changed, torch.tensor([[0, 2 / 7]]))


def test_heads_of_one_pattern_keep_their_axes():
    pattern = torch.full((4, 5, 5), 0.2)
    changed = changes.cut(Site(1, "pattern"), (4,), (0,)).apply(pattern)
    assert changed[:, 4].tolist() == [[0, *[pytest.approx(0.25)] * 4]] * 4
    assert torch.equal(changed[:, :4], pattern[:, :4])


def test_changes_are_the_same_where_all_that_they_go_by_is(vectors):
    assert changes.add(STREAM, vectors[0], [1]) == changes.add(STREAM, vectors[0].clone(), (1,))
    different = {
        changes.add(STREAM, vectors[0]),
        changes.add(STREAM, vectors[1]),
        changes.add(STREAM, vectors[0], (1,)),
        changes.add(Site(3, "resid_post"), vectors[0]),
        changes.put(STREAM, vectors[:1]),
        changes.scale(STREAM, 2.0),
        changes.scale(STREAM, 2.5),
        changes.cut(PATTERN, None, (1,)),
        changes.cut(PATTERN, None, (2,)),
    }
    assert len(different) == 9


def test_half_precision_stays_half_precision(vectors):
    values = torch.randn(5, 8, dtype=torch.bfloat16)
    for edit in (changes.put(STREAM, vectors[:1], (0,)), changes.add(STREAM, vectors[0]), changes.scale(STREAM, 0.3)):
        assert edit.apply(values).dtype == torch.bfloat16


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(vectors, bad):
    vectors[0, 0] = bad
    for make in (
        lambda: changes.put(STREAM, vectors),
        lambda: changes.add(STREAM, vectors[0]),
        lambda: changes.project_out(STREAM, vectors),
        lambda: changes.exchange(STREAM, vectors[:2]),
    ):
        with pytest.raises(EditError, match=r"blocks\.2\.hook_resid_post is not finite"):
            make()


def test_vectors_of_another_width_are_refused_with_both(values, vectors):
    for edit in (
        changes.add(STREAM, vectors[0, :5]),
        changes.put(STREAM, vectors[:, :5]),
        changes.project_out(STREAM, vectors[:, :5]),
        changes.exchange(STREAM, vectors[:2, :5]),
    ):
        with pytest.raises(EditError, match=r"\[.*8\].* has \[.*5\]"):
            edit.apply(values)
    with pytest.raises(EditError, match="another model"):
        changes.put(STREAM, vectors).apply(values)  # three, for five positions


def test_directions_that_say_nothing_are_refused(vectors):
    with pytest.raises(EditError, match="are zero"):
        changes.project_out(STREAM, torch.zeros(2, 8))
    with pytest.raises(EditError, match="point the same way"):
        changes.exchange(STREAM, torch.stack([vectors[0], 2 * vectors[0]]))


def test_a_placebo_moves_each_vector_as_far_as_the_edit_in_another_direction(values, vectors):
    for edit in (changes.zero(STREAM), changes.scale(STREAM, 1.5), changes.put(STREAM, vectors[:1])):
        moved = changes.placebo(edit, 0, (1, 3)).apply(values) - values
        wanted = edit.apply(values) - values
        assert torch.allclose(moved[[1, 3]].norm(dim=-1), wanted[[1, 3]].norm(dim=-1), rtol=1e-5)
        assert (moved[[0, 2, 4]] == 0).all()
        assert (torch.cosine_similarity(moved[[1, 3]], wanted[[1, 3]]).abs() < 0.95).all()


def test_a_placebo_goes_by_its_seed_and_its_site(values):
    def made(seed, site=STREAM):
        return changes.placebo(changes.zero(site), seed, range(5))

    assert torch.equal(made(0).apply(values), made(0).apply(values))
    assert not torch.allclose(made(0).apply(values), made(1).apply(values))
    assert not torch.allclose(made(0).apply(values), made(0, Site(4, "resid_post")).apply(values))
    assert made(0) == made(0)
    assert made(0) != made(1)
    assert made(0) != changes.placebo(changes.scale(STREAM, 3), 0, range(5))


def test_the_placebo_of_nothing_is_nothing(values):
    assert torch.equal(changes.placebo(changes.scale(STREAM, 1.0), 0, range(5)).apply(values), values)
