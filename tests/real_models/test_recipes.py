"""A recipe of what only a real model's tokenizer does: a conversation."""

import shlex

import numpy as np

from layerwise.cli.app import app
from layerwise.tracing.trace import Trace
from layerwise.view.recipes import recipes


def test_a_conversation_is_had_again(smollm, tmp_path):
    trace = smollm.trace(
        "Where is Berlin?",
        answer=("In Germany", "Germany"),
        alternatives="In France",
        chat=True,
        system="Answer in one word.",
    )
    told = recipes(trace)
    names: dict = {}
    exec(str(told["python"]), names)
    same_numbers(names["trace"], trace)
    [name, *arguments] = shlex.split(str(told["cli"]))
    assert name == "layerwise"
    app([*arguments[:1], "--json", str(tmp_path / "trace.json"), *arguments[1:]], standalone_mode=False)
    same_numbers(Trace.open(tmp_path / "trace.json"), trace)


def same_numbers(one: Trace, other: Trace) -> None:
    """Not the checks: they name the first prompt that a loaded model was asked."""
    assert (one.request, one.prompt, one.tokens) == (other.request, other.prompt, other.tokens)
    assert np.array_equal(one.top_ids, other.top_ids)
    assert one.answer and other.answer
    assert one.answer.answers == other.answer.answers
    assert np.allclose(one.answer.prob, other.answer.prob, rtol=1e-4, atol=1e-7)
