import pytest
import torch

from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.ridge import RidgeEstimator
from layerwise.lens_spec import RIDGE
from layerwise.lenses.fitted import FittedLens, Translator

LENGTH = 24


def windows(count, seed):
    return torch.randint(20, 400, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def ridge(load_family):
    estimator = RidgeEstimator(load_family("qwen3")._loaded, (0, 1, 2, 3))
    estimator.add(windows(100, seed=0))
    return estimator.translators()


@pytest.fixture(scope="module")
def held_out(load_family):
    return HeldOut(load_family("qwen3")._loaded, windows(16, seed=1))


def test_figures_are_what_transformers_states_say(load_family, oracle, held_out, ridge):
    """By textbook formulas in float64, from states that transformers gives."""
    model = load_family("qwen3")
    figures = held_out.figures(FittedLens(RIDGE, ridge), (1, 3))
    kl, bias_of, agrees = {}, {}, {}
    for each in held_out.passes:
        states, _ = oracle(model).run(list(each.ids))
        output = oracle(model).lens(states[4, list(each.positions)]).log_softmax(-1)
        for layer in (1, 3):
            for name, matrix, shift in (
                ("lens", ridge[layer].matrix.double(), ridge[layer].bias.double()),
                ("logit", torch.eye(64).double(), 0),
            ):
                read = states[layer, list(each.positions)].double() @ matrix.T + shift
                said = oracle(model).lens(read).log_softmax(-1)
                key = name, layer
                kl.setdefault(key, []).append((output.exp() * (output - said)).sum(-1))
                bias_of.setdefault(key, []).append((output.exp(), said.exp()))
                agrees.setdefault(key, []).append(output.argmax(-1) == said.argmax(-1))

    def mean_kl(key):
        return float(torch.cat(kl[key]).mean()) / torch.log(torch.tensor(2.0)).item()

    def bias(key):
        output, said = (torch.cat(parts).mean(0) for parts in zip(*bias_of[key], strict=True))
        return float((output * (output / said).log()).sum()) / torch.log(torch.tensor(2.0)).item()

    for index, layer in enumerate((1, 3)):
        assert figures.kl_bits[index] == pytest.approx(mean_kl(("lens", layer)), rel=1e-3)
        assert figures.logit_kl_bits[index] == pytest.approx(mean_kl(("logit", layer)), rel=1e-3)
        assert figures.bias_bits[index] == pytest.approx(bias(("lens", layer)), rel=2e-3)
        assert figures.logit_bias_bits[index] == pytest.approx(bias(("logit", layer)), rel=2e-3)
        top1 = torch.cat(agrees["lens", layer]).double().mean()
        assert figures.top1_agreement[index] == pytest.approx(float(top1), abs=0.02)


def test_a_lens_shifted_by_one_layer_shows(held_out, ridge):
    right = held_out.figures(FittedLens(RIDGE, ridge), range(1, 4))
    shifted = FittedLens(RIDGE, {layer + 1: ridge[layer] for layer in range(3)})
    wrong = held_out.figures(shifted, range(1, 4))
    assert all(ours < 0.8 * theirs for ours, theirs in zip(right.kl_bits, wrong.kl_bits, strict=True))
    assert right.logit_kl_bits == wrong.logit_kl_bits


def test_the_output_itself_has_no_distance(held_out, ridge):
    figures = held_out.figures(FittedLens(RIDGE, ridge), (4,))
    assert figures.kl_bits == pytest.approx([0], abs=1e-6)
    assert figures.bias_bits == pytest.approx([0], abs=1e-6)
    assert figures.top1_agreement == [1]


def test_two_lenses_agree_where_they_say_the_same(held_out, ridge):
    one = FittedLens(RIDGE, ridge)
    doubled = {layer: Translator(2 * each.matrix, 2 * each.bias) for layer, each in ridge.items()}
    assert held_out.agreement(one, one, (0, 1)) == [1, 1]
    assert held_out.agreement(one, FittedLens(RIDGE, doubled), (0, 1)) == [1, 1]  # the norm takes the scale away
    negative = {layer: Translator(-each.matrix, -each.bias) for layer, each in ridge.items()}
    assert max(held_out.agreement(one, FittedLens(RIDGE, negative), (0, 1))) < 0.1


def test_positions_are_drawn_by_seed_and_never_the_first(load_family):
    model = load_family("qwen3")._loaded
    one, same, other = (HeldOut(model, windows(40, seed=1), seed) for seed in (0, 0, 1))
    assert one.passes == same.passes != other.passes
    assert all(0 not in each.positions and len(set(each.positions)) == len(each.positions) for each in one.passes)
    assert 192 <= sum(len(each.positions) for each in one.passes) < 192 + 40
