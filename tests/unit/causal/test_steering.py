"""Steering: each row is a trace under its edit, and side effects are of questions that were known before."""

import json

import numpy as np
import pytest

from layerwise.causal import steering
from layerwise.causal.pairs import Asked
from layerwise.causal.steering import steer
from layerwise.errors import EditError, LayerwiseError
from layerwise.interventions.along import Add, vector_text
from layerwise.questions.question import Question
from layerwise.tracing.request import Request

PROMPT, ANSWER, OTHER = "The capital of Germany is", " a", " the"
TOKEN = Add("layer 2", "-1", token=(" a",))
MEANS = Add("layer 1", toward=("One two three",), away=("The colour of ripe limes is",), strength=2.0)


def test_each_row_is_a_trace_under_its_edit(tiny):
    found = steer(tiny, PROMPT, [TOKEN, MEANS], ANSWER, OTHER, strengths=(-1, 0.5), generate=3)
    assert len(found.rows) == 2 * 2 * 2, "directions, strengths, placebo or not"
    clean = tiny.trace(PROMPT, track=(ANSWER, OTHER))
    for row in found.rows:
        trace = tiny.trace(PROMPT, track=(ANSWER, OTHER), edits=row.edit, generate=3)
        at = trace.last
        first, second = (float(each.logprob[-1, at]) for each in trace.tracked)
        assert row.answer_logprob == pytest.approx(first, abs=2e-3)
        assert row.logit_difference == pytest.approx(first - second, abs=2e-3)
        assert row.answer_rank == trace.tracked[0].rank[-1, at]
        assert row.generated == tiny.tokenizer.decode([token.id for token in trace.generated])
    assert found.unsteered.answer_logprob == pytest.approx(float(clean.tracked[0].logprob[-1, 0]), abs=1e-3)


def test_the_divergence_is_that_of_transformers_own_distributions(tiny):
    """At the last layer an added vector can be added by hand, before transformers' own final norm and head."""
    import torch

    vector = np.linspace(-1, 1, tiny.info.d_model)
    layer = tiny.n_layers
    found = steer(
        tiny,
        PROMPT,
        Add(f"layer {layer}", "-1", vector=(vector_text(vector),)),
        ANSWER,
        strengths=(3,),
        placebos=0,
        generate=1,
    )
    site = f"blocks.{layer - 1}.hook_resid_post"
    state = torch.from_numpy(tiny.capture(PROMPT, site, positions="last")[site])
    with torch.no_grad():
        logits = [
            tiny.hf.get_output_embeddings()(tiny.hf.model.norm(each))
            for each in (state, state + 3 * torch.from_numpy(vector).float())
        ]
    before, after = (each.double().log_softmax(-1)[0] for each in logits)
    assert found.rows[0].kl_bits == pytest.approx(float((before.exp() * (before - after)).sum() / np.log(2)), rel=1e-3)


def test_without_strength_nothing_changes(tiny):
    found = steer(tiny, PROMPT, [TOKEN, MEANS], strengths=(0,), generate=2, placebos=2)
    for row in found.rows:
        assert row.kl_bits == pytest.approx(0, abs=1e-4)
        assert row.generated == found.goes_on
        assert row.answer_rank == 1, "without an answer, what the model says is followed"


def test_a_strength_is_times_the_edit_s_own(tiny):
    own = steer(tiny, PROMPT, MEANS, ANSWER, strengths=(0.5,), placebos=0, generate=1).rows[0]
    assert own.strength == 1
    assert own.edit == str(Add("layer 1", toward=MEANS.toward, away=MEANS.away, strength=1.0))


def test_side_effects_are_on_what_was_known_before(tiny, monkeypatch):
    questions = [
        Question(f"q{n}", f"The {word} is", (ANSWER,), item=word) for n, word in enumerate(("sky", "sea", "sun"))
    ]

    def ask(model, asked, limit, *, progress=None):
        traces = model.trace_all([Request.about(each) for each in asked])
        return Asked(len(asked), dict(zip(asked, traces, strict=True)))

    monkeypatch.setattr(steering, "ask", ask)
    found = steer(tiny, PROMPT, TOKEN, ANSWER, strengths=(0, 1), generate=1, placebos=1, unrelated=questions)
    assert (found.asked, found.known, len(found.side_effects)) == (3, 3, len(found.rows))
    for row, effect in zip(found.rows, found.side_effects, strict=True):
        assert (row.site, row.strength, row.placebo) == (effect.site, effect.strength, effect.placebo)
        probs = [
            np.exp([tiny.trace(each.prompt, ANSWER, edits=edits).answer_logprob[-1] for edits in (row.edit, ())])
            for each in questions
        ]
        assert effect.prob_change is not None
        assert effect.prob_change.value == pytest.approx(np.mean([after - before for after, before in probs]), abs=1e-3)
    assert {"still_known", "prob_change"} <= {*found.to_frame().columns}


def test_everything_is_stored_and_drawn(tiny, tmp_path):
    found = steer(tiny, PROMPT, [TOKEN, MEANS], ANSWER, strengths=(-1, 1), generate=1)
    found.save(tmp_path / "steering.json")
    stored = json.loads((tmp_path / "steering.json").read_text())
    assert [row["edit"] for row in stored["rows"]] == [row.edit for row in found.rows]
    assert stored["unsteered"]["logit_difference"] is None
    assert found.plot().to_dict()["title"]["text"].startswith(tiny.info.name[:10])


@pytest.mark.parametrize(
    "given",
    [{"strengths": ()}, {"strengths": (float("nan"),)}, {"placebos": -1}, {"generate": 0}, {"directions": ()}],
)
def test_what_cannot_be_steered_is_refused(tiny, given):
    with pytest.raises(EditError, match="Steering takes at least one direction"):
        steer(tiny, PROMPT, **({"directions": TOKEN} | given))


def test_a_direction_that_does_not_fit_is_refused(tiny):
    with pytest.raises(LayerwiseError, match="not one token"):
        steer(tiny, PROMPT, Add("layer 2", token=(" colourless",)))
