"""The lenses that come with layerwise: they are the bundled models', and show what the logit lens does not."""

import statistics

import layerwise as lw
from layerwise.lenses.own import SHIPPED
from layerwise.models.sources.bundled import BUNDLED

CAPITALS = {
    "Germany": " Berlin",
    "France": " Paris",
    "Italy": " Rome",
    "Spain": " Madrid",
    "Japan": " Tokyo",
    "Russia": " Moscow",
    "Poland": " Warsaw",
    "Austria": " Vienna",
}


def shipped(model: lw.Model) -> str:
    return f"jacobian:{SHIPPED / model.info.name / 'jacobian'}"


def test_they_are_small():
    assert sum(each.stat().st_size for each in SHIPPED.rglob("*") if each.is_file()) <= 40_000_000


def test_each_bundled_model_has_one():
    assert {each.name for each in SHIPPED.iterdir() if each.is_dir()} == set(BUNDLED)


def test_it_was_fitted_for_these_weights(bundled_model):
    lens = bundled_model.open_lens(shipped(bundled_model))
    assert lens.spec.notes == ()
    assert lens.card is not None
    assert lens.card.weights_sum == bundled_model._loaded.identified().weights_sum
    assert lens.card.layers == tuple(range(bundled_model.n_layers))


def test_it_reads_capitals_earlier_than_the_logit_lens(bundled_model):
    """Where the model says the capital at all: from which layer on it is among ten."""
    asked = [lw.Request(f"The capital of {country} is", answers=(capital,)) for country, capital in CAPITALS.items()]
    read = bundled_model.trace_all(asked, lenses=["logit", shipped(bundled_model)])
    known = [traces for traces in read if traces[0].answer_rank[-1] <= 10]
    assert len(known) >= 4
    logit, jacobian = (
        statistics.mean(int((traces[at].answer_rank <= 10).argmax()) for traces in known) for at in (0, 1)
    )
    assert jacobian < logit - 1
