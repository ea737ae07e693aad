from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from layerwise import compiled
from layerwise.models.machine.device import available_devices
from layerwise.models.output_head import product

needs_numba = pytest.mark.skipif(not compiled.available(), reason="numba is not installed here")

HALF = [torch.bfloat16, torch.float16]
COMPILED = [torch.float32, torch.bfloat16]
"""What the compiled product takes; everything else is PyTorch's."""

# Σ|x·w| is what rounding errors are in proportion to. Measured over 1,500 shapes: at most 4e-7.
NEAR = 1e-6


@pytest.fixture(
    scope="module",  # Hypothesis runs one function many times, so nothing may be set up per function
    params=["pytorch", pytest.param("compiled", marks=needs_numba)],
)
def either(request):
    """The product in PyTorch, then the compiled one, wherever it takes the operands, on any processor."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "pytorch":
            patch.setattr(compiled, "available", lambda: False)
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
        yield request.param


@pytest.fixture
def compiled_multiply():
    pytest.importorskip("numba", reason="numba is not installed here")
    from layerwise.models.output_head import compiled_product

    return compiled_product.multiply


@pytest.fixture
def threads():
    """Sets how many threads PyTorch uses: ``threads(2)``."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def draw(shape: tuple[int, int, int], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows [row, d_model] and weights [token, d_model] for a shape [row, token, d_model]."""
    n_rows, n_tokens, width = shape
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_rows, width, generator=generator)
    return rows, torch.randn(n_tokens, width, generator=generator).to(dtype)


def product_of(rows: Tensor, weight: Tensor, multiply: Any = product.multiply) -> Tensor:
    out = torch.full((len(rows), len(weight)), torch.nan)
    multiply(rows, weight, out)
    return out


def error_of(out: Tensor, rows: Tensor, weight: Tensor) -> float:
    """Return the largest error of an entry, relative to Σ|x·w|."""
    x, w = rows.double(), weight.double()
    size = x.abs() @ w.abs().T
    return ((out.double() - x @ w.T).abs() / size.clamp_min(1e-30)).max().item()


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 200), st.integers(1, 130)),
    dtype=st.sampled_from([torch.float32, *HALF]),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_are_those_of_float64(either, shape, dtype, seed):
    rows, weight = draw(shape, dtype, seed)
    out = product_of(rows, weight)
    assert out.dtype == torch.float32
    assert error_of(out, rows, weight) < NEAR


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 3, 5), (3, 4, 1), (9, 64, 130), (4, 65, 7), (8, 193, 64), (50, 513, 9)]
)
def test_products_at_the_edges_of_blocks(either, shape, dtype):
    rows, weight = draw(shape, dtype)
    assert error_of(product_of(rows, weight), rows, weight) < NEAR


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 100), st.integers(1, 60)),
    dtype=st.sampled_from([torch.float32, *HALF]),
    seed=st.integers(0, 2**32 - 1),
)
def test_operands_may_lie_in_memory_in_any_order(either, shape, dtype, seed):
    rows, weight = draw(shape, dtype, seed)
    turned, spread = weight.T.contiguous().T, weight.repeat_interleave(2, dim=1)[:, ::2]
    for other in (turned, spread):
        assert error_of(product_of(rows, other), rows, weight) < NEAR
    assert error_of(product_of(rows.T.contiguous().T, weight), rows, weight) < NEAR
    columns = torch.full((shape[0], shape[1] + 4), torch.nan)
    product.multiply(rows, weight, columns[:, 2:-2])
    assert error_of(columns[:, 2:-2], rows, weight) < NEAR
    assert bool(columns[:, :2].isnan().all() and columns[:, -2:].isnan().all())
    upright = torch.full((shape[1], shape[0]), torch.nan)
    product.multiply(rows, weight, upright.T)
    assert error_of(upright.T, rows, weight) < NEAR


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_tiles_that_do_not_divide_the_vocabulary(either, dtype, monkeypatch):
    rows, weight = draw((5, 203, 30), dtype)
    for tile_rows in (1, 7, 64, 202, 203, 500):
        monkeypatch.setattr(product, "_tile_rows", lambda _weight, tile_rows=tile_rows: tile_rows)
        assert error_of(product_of(rows, weight), rows, weight) < NEAR


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_logits_are_the_same_in_any_number_of_threads(either, dtype, monkeypatch, threads):
    monkeypatch.setattr(product, "_tile_rows", lambda _weight: 64)
    rows, weight = draw((40, 1000, 96), dtype)
    made = []
    for count in (1, 2, 5):
        threads(count)
        made.append(product_of(rows, weight))
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


def test_products_are_made_in_inference_mode_too(either, threads):
    threads(2)
    rows, weight = draw((5, 20_000, 30), torch.float32)
    with torch.inference_mode():
        assert error_of(product_of(rows, weight), rows, weight) < NEAR


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_weights_leave_logits_that_differ_by_less_than_their_steps(either, dtype):
    rows, weight = draw((3, 1000, 32), dtype)
    assert len(product_of(rows, weight)[0].unique()) > 990, "a product in half precision would tie"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_stays_in_its_row_and_in_its_token(either, bad):
    rows, weight = draw((7, 70, 33), torch.float32)
    rows[4, 20] = bad
    assert torch.equal(product_of(rows, weight).isfinite(), torch.arange(7)[:, None].ne(4).expand(7, 70))
    rows, weight = draw((7, 70, 33), torch.float32)
    weight[68, 5] = bad
    assert torch.equal(product_of(rows, weight).isfinite(), torch.arange(70).ne(68).expand(7, 70))


@needs_numba
@pytest.mark.parametrize("dtype", COMPILED)
@pytest.mark.parametrize("shape", [(1, 4, 3), (2, 70, 17), (3, 65, 8), (7, 130, 40)])
def test_nothing_outside_is_read_or_written(compiled_multiply, shape, dtype):
    """All operands lie within larger ones that are full of NaN."""
    n_rows, n_tokens, width = shape
    rows, weight = draw(shape, dtype)
    around_rows = torch.full((n_rows + 8, width), torch.nan)
    around_weight = torch.full((n_tokens + 8, width), torch.nan, dtype=dtype)
    around_out = torch.full((n_rows + 8, n_tokens), 77.0)
    around_rows[4:-4], around_weight[4:-4] = rows, weight
    compiled_multiply(around_rows[4:-4], around_weight[4:-4], around_out[4:-4])
    assert error_of(around_out[4:-4], rows, weight) < NEAR
    assert bool((around_out[:4] == 77).all() and (around_out[-4:] == 77).all())
    assert torch.equal(around_rows[4:-4], rows)
    assert torch.equal(around_weight[4:-4], weight)


@needs_numba
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(4, 200), st.integers(1, 130)),
    dtype=st.sampled_from(COMPILED),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_row_gives_the_same_bits_alone_and_among_others(shape, dtype, seed):
    from layerwise.models.output_head import compiled_product

    rows, weight = draw(shape, dtype, seed)
    together = product_of(rows, weight, compiled_product.multiply)
    for row in range(len(rows)):
        for some in (slice(row, row + 1), slice(row, row + 2), slice(0, row + 1), slice(row, None)):
            apart = product_of(rows[some], weight, compiled_product.multiply)
            assert torch.equal(apart, together[some])


@needs_numba
@given(
    shape=st.tuples(st.integers(2, 9), st.integers(5, 200), st.integers(1, 130)),
    dtype=st.sampled_from(COMPILED),
    seed=st.integers(0, 2**32 - 1),
)
def test_equal_unembedding_rows_give_equal_logits(shape, dtype, seed):
    """Else tokens that the model cannot tell apart would have ranks of their own."""
    from layerwise.models.output_head import compiled_product

    rows, weight = draw(shape, dtype, seed)
    same = np.random.default_rng(seed).permutation(len(weight))[: 1 + len(weight) // 2]
    weight[same] = weight[same[0]].clone()
    rows[-1] = rows[0]
    out = product_of(rows, weight, compiled_product.multiply)
    assert torch.equal(out[:, same], out[:, same[:1]].expand(-1, len(same)))
    assert torch.equal(out[-1], out[0])


@needs_numba
@pytest.mark.parametrize("dtype", COMPILED)
@pytest.mark.parametrize("n_tokens", [65, 1003])
def test_any_number_of_threads_and_blocks_gives_the_same_bits(compiled_multiply, dtype, n_tokens, threads, monkeypatch):
    rows, weight = draw((11, n_tokens, 70), dtype)
    alone = product_of(rows, weight, compiled_multiply)
    for count in (1, 2, 3):
        threads(count)
        assert torch.equal(product_of(rows, weight, compiled_multiply), alone)
    for cache in (1, 1 << 12, 1 << 24):
        monkeypatch.setattr("layerwise.models.output_head.compiled_product.cache_bytes", lambda cache=cache: cache)
        assert torch.equal(product_of(rows, weight, compiled_multiply), alone)


@needs_numba
def test_products_at_once_do_not_disturb_one_another(compiled_multiply, threads):
    threads(2)
    operands = [draw((n_rows, 300, 40), dtype) for n_rows in (1, 4, 9) for dtype in COMPILED]
    alone = [product_of(rows, weight, compiled_multiply) for rows, weight in operands]
    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(lambda pair: product_of(pair[0], pair[1], compiled_multiply), operands * 10))
    for got, expected in zip(at_once, alone * 10, strict=True):
        assert torch.equal(got, expected)


@needs_numba
@pytest.mark.parametrize("dtype", COMPILED)
def test_no_rows_are_no_error(compiled_multiply, dtype):
    rows, weight = draw((0, 20, 8), dtype)
    assert product_of(rows, weight, compiled_multiply).shape == (0, 20)


@needs_numba
@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        (lambda x, w, z: (x, w, z), True),
        (lambda x, w, z: (x, w.bfloat16(), z), True),
        (lambda x, w, z: (x, w.half(), z), False),
        (lambda x, w, z: (x, w[:3], z[:, :3].contiguous()), False),
        (lambda x, w, z: (x, w.T.contiguous().T, z), False),
        (lambda x, w, z: (x, w, z.T.contiguous().T), False),
        (lambda x, w, z: (x, w[:8], z[:, :8]), False),
    ],
    ids=["float32", "bfloat16", "float16", "three tokens", "turned weights", "turned output", "columns of output"],
)
def test_what_the_compiled_product_is_given(operands, expected, monkeypatch):
    from layerwise.models.output_head import compiled_product

    called = []
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(compiled_product, "multiply", lambda *given: called.append(given))
    product.multiply(*operands(*draw((2, 20, 8), torch.float32), torch.empty(2, 20)))
    assert bool(called) == expected


@needs_numba
@pytest.mark.parametrize("capability", ["DEFAULT", "AVX512", "SVE256"])
def test_on_other_processors_pytorch_multiplies(capability, monkeypatch):
    from layerwise.models.output_head import compiled_product

    def refuse(*_given: object) -> None:
        raise AssertionError("the compiled product was used")

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(compiled_product, "multiply", refuse)
    rows, weight = draw((2, 20, 8), torch.float32)
    assert error_of(product_of(rows, weight), rows, weight) < NEAR


@pytest.mark.skipif(available_devices() == ("cpu",), reason="this machine has no accelerator")
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_products_on_accelerators_are_those_of_float64(dtype, monkeypatch):
    device = available_devices()[0]
    rows, weight = draw((9, 203, 130), dtype)
    for tile_rows in (64, 203):
        monkeypatch.setattr(product, "_tile_rows", lambda _weight, tile_rows=tile_rows: tile_rows)
        out = torch.full((9, 203), torch.nan, device=device)
        product.multiply(rows.to(device), weight.to(device), out)
        assert error_of(out.cpu(), rows, weight) < NEAR
