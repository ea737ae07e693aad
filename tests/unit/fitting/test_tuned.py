import statistics
from typing import Any

import pytest
import torch

import layerwise as lw
from layerwise.errors import LensError
from layerwise.fitting import checkpoint_clock, tuned
from layerwise.fitting.descent import Descent, Start
from layerwise.fitting.kl_gradient import kl_gradient, take_columns
from layerwise.fitting.tuned import default_options
from layerwise.lenses.fitted import LowRankTranslator

SETTINGS: dict[str, Any] = {"count": 64, "length": 24}
FEW = {"steps": 120, "places": 16, "samples": 2048, "rate": 3e-3}


@pytest.fixture(scope="module")
def model(load_family):
    return load_family("qwen3")


def start(d, n_layers=2, *, identity=False, diagonal=False):
    draw = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=draw)

    whitening = random(n_layers, d) if diagonal else random(n_layers, d, d) / d**0.5
    matrix = None if identity else random(n_layers, d, d) / d**0.5
    return Start(matrix, random(n_layers, d), random(n_layers, d), whitening, 1 + random(d).abs())


def random_parameters(descent):
    draw = torch.Generator().manual_seed(1)
    for values in descent.parameters.values():
        values.copy_(torch.randn(values.shape, generator=draw) * 0.1)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("identity", [False, True])
def test_translators_are_what_descent_applies(rank, identity):
    d = 8
    descent = Descent(start(d, identity=identity, diagonal=identity), rank, 0)
    random_parameters(descent)
    states = torch.randn(2, 5, d)
    translated, _ = descent.apply(states)
    found = descent.translators((3, 7), descent.parameters)
    assert isinstance(found[3], LowRankTranslator) == (identity and rank > 0)
    for index, layer in enumerate((3, 7)):
        torch.testing.assert_close(found[layer].apply(states[index]), translated[index], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
@torch.no_grad()
def test_gradients_are_autograds(load_family, name, rank):
    """From parameters through translator, final norm, head and KL."""
    head = load_family(name)._loaded.output_head
    d = head.weight.shape[1]
    descent = Descent(start(d), rank, 0)
    random_parameters(descent)
    states, output = torch.randn(2, 5, d), torch.randn(5, d)
    columns = take_columns(head, torch.arange(head.vocab_size), torch.ones(head.vocab_size))
    said = columns.logits(output).log_softmax(-1)
    with torch.enable_grad():
        for values in descent.parameters.values():
            values.requires_grad_()
        translated, x = descent.apply(states)
        translated.retain_grad()
        normed = head.final_norm(translated)
        z = normed @ head.weight.T * head.transform.scale
        cap = head.transform.softcap
        read = (z if cap is None else cap * torch.tanh(z / cap)).log_softmax(-1)
        (said.exp() * (said - read)).sum(-1).mean(-1).sum().backward()
    _, of_normed = kl_gradient(normed.detach(), output, columns.logits(output).logsumexp(-1), columns)
    with torch.enable_grad():
        again = translated.detach().requires_grad_()
        [of_translated] = torch.autograd.grad(head.final_norm(again), again, of_normed)
    for key, gradient in descent.gradients(x.detach(), of_translated).items():
        expected = descent.parameters[key].grad
        assert expected is not None
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_each_layer_keeps_its_best():
    descent = Descent(start(4), 0, 0)
    for kl, value in (([3, 1], 1.0), ([2, 2], 2.0), ([4, 0.5], 3.0), ([9, 9], 4.0)):
        descent.parameters["bias"][:] = value
        descent.keep_if_better(kl)
    assert descent.best["bias"][:, 0].tolist() == [2, 3]
    assert int(descent.since_best) == 1


def test_a_tuned_lens_is_closer_to_the_output_than_ridge(model, manual, tmp_path):
    lenses = {
        method: lw.fit_lens(model, method, tmp_path / method, manual, **SETTINGS, options=options)
        for method, options in (("ridge", {}), ("tuned", FEW))
    }
    ridge, tuned_one = (lenses[method].card for method in ("ridge", "tuned"))
    assert ridge is not None
    assert tuned_one is not None
    assert statistics.fmean(tuned_one.held_out["kl_bits"]) < 0.85 * statistics.fmean(ridge.held_out["kl_bits"])
    assert tuned_one.method == "tuned"
    assert "halves" not in tuned_one.held_out
    assert tuned_one.text["held_out"]["windows"] == -(-ridge.text["held_out"]["windows"] // 2)
    again = lw.fit_lens(model, "tuned", tmp_path / "again", manual, **SETTINGS, options=FEW)
    assert again.card == tuned_one


@pytest.mark.parametrize("killed_at", [17, 21])
def test_an_interrupted_descent_goes_on_to_the_same_lens(model, manual, tmp_path, monkeypatch, killed_at):
    """Also where it ended after a checkpoint and before what it was to be judged by."""
    few = {**FEW, "steps": 30}
    monkeypatch.setattr(tuned, "_BETWEEN_LOOKS", 10)
    lw.fit_lens(model, "tuned", tmp_path / "whole", manual, **SETTINGS, options=few)
    monkeypatch.setattr(checkpoint_clock, "BETWEEN", 0)
    monkeypatch.setattr(checkpoint_clock, "_SHARE_OF_WRITING", float("inf"))
    with monkeypatch.context() as patch:
        usual = Descent.step

        def step(self, gradients, rate, number):
            if number == killed_at:
                raise KeyboardInterrupt
            usual(self, gradients, rate, number)

        patch.setattr(Descent, "step", step)
        with pytest.raises(KeyboardInterrupt):
            lw.fit_lens(model, "tuned", tmp_path / "lens", manual, **SETTINGS, options=few)
    with pytest.raises(LensError, match=r"another fit.*settings"):
        lw.fit_lens(model, "tuned", tmp_path / "lens", manual, **SETTINGS, options={**few, "rate": 0.1})
    lw.fit_lens(model, "tuned", tmp_path / "lens", manual, **SETTINGS, options=few)
    for name in ("lens.json", "translators.safetensors"):
        assert (tmp_path / "lens" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "lens.partial").exists()


def test_few_columns_of_a_vocabulary_suffice(model, manual, tmp_path):
    """The toy's vocabulary has 530 tokens; here a step looks at 200 of them."""
    few = {**FEW, "columns": 200}
    every = lw.fit_lens(model, "tuned", tmp_path / "every", manual, **SETTINGS, options=FEW).card
    some = lw.fit_lens(model, "tuned", tmp_path / "some", manual, **SETTINGS, options=few).card
    assert every is not None
    assert some is not None
    assert statistics.fmean(some.held_out["kl_bits"]) < 1.15 * statistics.fmean(every.held_out["kl_bits"])


def test_from_the_identity_with_a_low_rank(model, manual, tmp_path):
    low = {**FEW, "start": "identity", "rank": 8}
    lens = lw.fit_lens(model, "tuned", tmp_path / "lens", manual, **SETTINGS, options=low)
    assert lens.card is not None
    figures = lens.card.held_out
    assert all(isinstance(each, LowRankTranslator) for each in lens.translators.values())
    assert statistics.fmean(figures["kl_bits"]) < 0.7 * statistics.fmean(figures["logit_kl_bits"])


def test_large_models_start_from_the_identity_with_a_low_rank_unless_asked_otherwise():
    assert default_options(2048) == tuned.OPTIONS
    assert (default_options(4096)["start"], default_options(4096)["rank"]) == ("identity", 256)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": "zero"}, "start is ridge or identity; got 'zero'"),
        ({"start": 3}, "The setting start is a word"),
        ({"steps": 2.5}, "The setting steps is a number"),
        ({"rate": -1.0}, "The setting rate is a number, at least 0"),
        ({"rate": float("inf")}, "The setting rate is a number, at least 0"),
        ({"places": "many"}, "The setting places is a number"),
    ],
)
def test_settings_of_another_kind_are_refused(model, manual, tmp_path, options, said):
    with pytest.raises(LensError, match=said):
        lw.fit_lens(model, "tuned", tmp_path / "lens", manual, **SETTINGS, options=options)


def test_descent_has_no_shards(model, manual, tmp_path):
    from layerwise.fitting.listener import Listener
    from layerwise.fitting.plan import FitRequest
    from layerwise.tracing.lens_fitting import carry_out_shard

    with pytest.raises(LensError, match="cannot be divided into shards"):
        carry_out_shard(model, FitRequest("tuned", manual, 64, 24), (1, 2), tmp_path / "shard", Listener())
