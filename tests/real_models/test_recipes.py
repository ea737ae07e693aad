"""A recipe of what only a real model's tokenizer does: a conversation."""

import shlex

from layerwise.cli.app import app
from layerwise.tracing.trace import Trace
from layerwise.view.recipes import recipes


def test_a_conversation_is_had_again(smollm, tmp_path, monkeypatch):
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
    assert names["trace"] == trace
    [name, *arguments] = shlex.split(str(told["cli"]))
    assert name == "layerwise"
    app([*arguments[:1], "--json", str(tmp_path / "trace.json"), *arguments[1:]], standalone_mode=False)
    again = Trace.open(tmp_path / "trace.json")
    assert again.prompt == trace.prompt
    assert again.request == trace.request
