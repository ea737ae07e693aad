import numpy as np
import pytest
import torch

from layerwise.lens_spec import METHODS
from layerwise.lenses.fitted import RAISED_BYTES, FittedLens, LowRankTranslator, Translator
from layerwise.readout.lenses import LogitLens, lens_at
from tests.lenses import low_rank_translators, random_translators

RIDGE = METHODS["ridge"]


@pytest.fixture
def states():
    return torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0))


def test_rows_are_the_final_norm_of_what_the_translators_give(family, states):
    head, translators = family._loaded.output_head, random_translators(4, 64)
    rows = FittedLens(RIDGE, translators).rows(states, head)
    for layer, translator in translators.items():
        mapped = states[:, layer].double() @ translator.matrix.double().T + translator.bias
        assert torch.allclose(rows[:, layer], head.normed(mapped.float()), atol=1e-4)
    assert torch.allclose(rows[:, 4], head.normed(states[:, 4])), "the last layer is the output's, as it is"


def test_layers_without_a_translator_are_read_as_the_logit_lens_reads_them(tiny, states):
    head = tiny._loaded.output_head
    some = {2: random_translators(4, 64)[2]}
    rows, logit = FittedLens(RIDGE, some).rows(states, head), LogitLens().rows(states, head)
    assert torch.allclose(rows[:, [0, 1, 3, 4]], logit[:, [0, 1, 3, 4]])
    assert not torch.allclose(rows[:, 2], logit[:, 2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rows_are_float32_and_states_stay_as_they_are(tiny, states, dtype):
    before = states.to(dtype)
    given = before.clone()
    lens = FittedLens(RIDGE, low_rank_translators(2, 64) | {2: random_translators(3, 64)[2]})
    assert lens.rows(given, tiny._loaded.output_head).dtype == torch.float32
    assert torch.equal(given, before)


@pytest.mark.parametrize("made", [random_translators, low_rank_translators])
def test_a_layer_alone_is_read_as_among_all(tiny, states, made):
    head = tiny._loaded.output_head
    lens = FittedLens(RIDGE, made(4, 64))
    together = lens.rows(states, head)
    for layer in range(5):
        alone = lens_at(lens, layer).rows(states[:, [layer]], head)
        assert torch.allclose(alone[:, 0], together[:, layer], atol=1e-5)


def test_large_lenses_stay_as_they_are_stored(monkeypatch):
    half = {0: Translator(torch.eye(8).half(), torch.ones(8).half())}
    lens, cpu = FittedLens(RIDGE, half), torch.device("cpu")
    assert {t.dtype for t in lens.to(cpu).translators[0].tensors.values()} == {torch.float32}
    monkeypatch.setattr("layerwise.lenses.fitted.RAISED_BYTES", 100)
    assert RAISED_BYTES > 100
    large = lens.to(cpu).translators[0]
    assert {t.dtype for t in large.tensors.values()} == {torch.float16}
    assert np.allclose(large.apply(torch.ones(2, 8)), 2), "and are raised as they are used"


def test_low_rank_in_half_precision_is_raised_too():
    thin = LowRankTranslator(torch.ones(8, 1).half(), torch.ones(1, 8).half(), torch.ones(8).half())
    assert torch.equal(thin.apply(torch.ones(2, 8).bfloat16()), torch.full((2, 8), 10.0))
