"""What is peculiar about fits of Jacobian lenses; that the matrices are right is tested on every family."""

import pytest
import torch

import layerwise as lw
from layerwise.errors import LensError
from layerwise.fitting import jacobian
from layerwise.fitting.jacobian import JacobianSums
from layerwise.models.anatomy.backward_rules import r_rules

LENGTH, SKIPPED = 12, 3


@pytest.fixture(scope="module")
def model(load_family):
    return load_family("gemma2")


def texts(count, seed=0):
    return torch.randint(20, 400, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def sums_of(model, *batches, **how):
    sums = JacobianSums(model._loaded, length=LENGTH, skipped=SKIPPED, **how)
    for batch in batches:
        sums.add(batch)
    return sums


def expect_close(found, wanted):
    assert found.keys() == wanted.keys()
    for layer, translator in wanted.items():
        assert (found[layer].matrix - translator.matrix).norm() < 1e-5 * translator.matrix.norm()


def test_the_order_of_texts_changes_nothing_but_rounding(model):
    ids = texts(5)
    expect_close(sums_of(model, ids.flip(0)).translators(), sums_of(model, ids).translators())


@pytest.mark.parametrize(
    ("tokens", "rows", "layers"),
    [
        pytest.param(1, 0, [3], id="each copy and each row by itself"),
        pytest.param(16, 24, None, id="two copies, rows in unequal parts"),
    ],
)
def test_how_texts_are_divided_changes_nothing_but_rounding(model, monkeypatch, tokens, rows, layers):
    ids = texts(3)
    together = sums_of(model, ids, layers=layers).translators()
    of_a_row = (LENGTH - 1 - SKIPPED) * model.info.d_model * 4
    monkeypatch.setattr(jacobian, "_TOKENS_AT_ONCE", tokens)
    monkeypatch.setattr(jacobian, "_COTANGENTS_BYTES", rows * of_a_row)
    expect_close(sums_of(model, ids, layers=layers).translators(), together)


def test_sums_of_different_texts_add_up(model):
    ids = texts(5)
    parts = [sums_of(model, ids[:2]), sums_of(model, ids[2:])]
    whole = sums_of(model)
    for part in parts:
        whole.sums.include(part.sums)
    expect_close(whole.translators(), sums_of(model, ids).translators())


def test_going_on_from_sums_is_as_never_having_stopped(model):
    first, second = texts(2), texts(3, seed=1)
    again = sums_of(model)
    again.sums.include(sums_of(model, first).sums)
    again.add(second)
    for layer, translator in sums_of(model, first, second).translators().items():
        assert torch.equal(again.translators()[layer].matrix, translator.matrix)


def test_some_layers_are_those_of_all_of_them(model):
    every, some = sums_of(model, texts(2)).translators(), sums_of(model, texts(2), layers=[1, 3]).translators()
    expect_close(some, {layer: every[layer] for layer in (1, 3)})


def test_the_last_position_and_the_first_ones_have_no_part_in_it(model):
    """Of the last token nothing depends; what stands before changes how later states answer, and has no row."""
    ids = texts(2)
    other = ids.clone()
    other[:, -1] += 1
    expect_close(sums_of(model, other).translators(), sums_of(model, ids).translators())


def test_products_in_bfloat16_are_close_and_leave_the_precision_as_it_was(model):
    ids, before = texts(3), torch.get_float32_matmul_precision()
    exact, fast = sums_of(model, ids).translators(), sums_of(model, ids, precision="medium").translators()
    assert torch.get_float32_matmul_precision() == before
    for layer, translator in exact.items():
        learnt = translator.matrix - torch.eye(len(translator.matrix))
        assert (fast[layer].matrix - translator.matrix).norm() < 2**-6 * learnt.norm()  # a few roundings of 2^-9


def test_an_unknown_precision_is_refused(model):
    with pytest.raises(LensError, match="one of highest, high, medium; got 'double'"):
        JacobianSums(model._loaded, precision="double")


def test_windows_without_a_position_are_refused(model):
    with pytest.raises(LensError, match="windows of at least 18"):
        JacobianSums(model._loaded, length=17)


def test_progress_goes_up_to_all_there_is(model):
    told = []
    sums_of(model).add(texts(2), lambda what, done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def test_a_foretold_time_is_one(model):
    assert 0 < sums_of(model).seconds_per_text(texts(3)) < 60


@pytest.mark.parametrize("method", ["jacobian", "r"])
def test_a_lens_is_fitted_written_and_read_through(model, manual, tmp_path, method):
    told = []
    fitted = lw.fit_lens(
        model,
        method,
        tmp_path / "lens",
        manual,
        count=6,
        length=LENGTH,
        options={"skipped": 4},
        on_estimate=told.append,
    )
    assert fitted.card is not None
    assert fitted.card.method == method
    assert fitted.card.estimator["skipped"] == 4
    assert len(told) == 1
    trace = model.trace("The capital of Germany is", lens=f"{method}:{tmp_path / 'lens'}")
    assert trace.lens == f"{method}:lens"
    again = sums_of(model, rules=r_rules if method == "r" else jacobian.no_rules)
    assert set(again.translators()) == set(fitted.translators)
