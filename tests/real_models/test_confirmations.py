"""Exchanges under the shipped Jacobian lenses, against a hook by hand on transformers' own blocks."""

import numpy as np
import pytest
import torch

import layerwise as lw
from layerwise.causal.confirmed import EXCHANGE, PLACEBOS
from layerwise.questions.question import Question

QUESTIONS = [
    Question("france", "The capital of France is", (" Paris",), item="France", wording="w"),
    Question("germany", "The capital of Germany is", (" Berlin",), item="Germany", wording="w"),
]
LATE = {"smollm2-135m": 25, "gemma-3-270m": 16}
"""A layer at which the answers stand at the last position (experiment 006)."""


@pytest.fixture
def found(bundled_model, monkeypatch):
    from layerwise.causal import confirm as confirming
    from layerwise.causal.pairs import Asked

    def ask(model, questions, limit, *, lenses, progress):
        """Take both, whether the model writes them itself or says an article first."""
        traces = model.trace_all([lw.Request.about(each) for each in questions], lenses=lenses)
        return Asked(len(questions), dict(zip(questions, traces, strict=True)))

    monkeypatch.setattr(confirming, "ask", ask)
    return lw.confirm(bundled_model, "two", QUESTIONS, lenses=["jacobian"], draws=4)


def test_exchanges_are_those_of_a_hook(bundled_model, found):
    hf, name = bundled_model.hf, bundled_model.info.name
    layer = LATE[name]
    norm = hf.model.norm.weight + (1 if name.startswith("gemma") else 0)
    matrix = bundled_model.open_lens("jacobian").translators[layer].whole().double()
    for number, pair in enumerate(found.pairs):
        tokens = [bundled_model.tokenizer("a" + text)["input_ids"][-1] for text in (pair.answer, pair.against)]
        rows = (hf.get_output_embeddings().weight[tokens] * norm).double() @ matrix
        ids = torch.tensor([[token.id for token in bundled_model.trace(pair.prompt).tokens]])

        def exchanged(_module, _args, output, rows=rows):
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            state = hidden[0, -1].double()
            readings = rows @ state
            hidden[0, -1] = (state + torch.linalg.lstsq(rows, readings.flip(0) - readings).solution).to(hidden.dtype)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        hook = hf.model.layers[layer - 1].register_forward_hook(exchanged)
        with torch.no_grad():
            logits = hf(input_ids=ids).logits[0, -1]
            hook.remove()
            clean = hf(input_ids=ids).logits[0, -1]
        moved, unpatched = (float(each[tokens[0]] - each[tokens[1]]) for each in (logits, clean))
        assert pair.unpatched == pytest.approx(unpatched, abs=1e-3)
        expected = (moved - unpatched) / (pair.source - unpatched)
        assert found.lenses[0].recovery[EXCHANGE][number, layer - 1] == pytest.approx(expected, abs=2e-3)


def test_late_exchanges_bring_the_other_answer_and_placebos_do_not(bundled_model, found):
    layer = LATE[bundled_model.info.name]
    [lens] = found.lenses
    recovery = {kind: values[:, layer - 1].mean() for kind, values in lens.recovery.items()}
    assert recovery[EXCHANGE] > 0.4
    assert all(abs(recovery[placebo]) < 0.2 for placebo in PLACEBOS)
    early = lens.recovery[EXCHANGE][:, : layer // 2]
    assert np.abs(early).max() < 0.2, "long before, the last position knows nothing of the answer"
