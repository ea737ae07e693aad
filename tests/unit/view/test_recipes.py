"""What a recipe gives is the trace that it came from: each is really run."""

import io
import json
import os
import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import layerwise as lw
from layerwise.cli.app import app, run_app
from layerwise.errors import PromptWarning
from layerwise.tracing.trace import Trace
from layerwise.view.recipes import quoted, recipes

PROMPT = "The capital of Germany is"

HOSTILE = [
    'it\'s "quoted" $(touch ran) `touch ran` $HOME \\',
    "-n --model=x; touch ran",
    "two\nlines\tand\x1b[201~\x03touch ran\r\u202ereversed\u2028",
    "Größe 😀 “x” !! # ~ *",
]


def python(trace):
    return str(recipes(trace)["python"])


def cli(trace):
    return str(recipes(trace)["cli"])


def same_numbers(one, other):
    assert one.tokens == other.tokens
    assert one.generated == other.generated
    assert one.positions == other.positions
    assert np.array_equal(one.top_ids, other.top_ids)
    assert np.array_equal(one.top_logprobs, other.top_logprobs)
    assert [each.token for each in one.tracked] == [each.token for each in other.tracked]
    assert (one.answer is None) == (other.answer is None)
    if one.answer and other.answer:
        assert one.answer.answers == other.answer.answers
        assert np.array_equal(one.answer.prob, other.answer.prob)


def run_python(text: str) -> Trace:
    names: dict = {}
    exec(text, names)
    return names["trace"]


def in_bash(text: str, command: str, folder: Path) -> bytes:
    """What bash prints for a recipe, if its `layerwise` is this command; it may leave nothing else in the folder."""
    environment = os.environ | {"HOME": "/", "OMP_NUM_THREADS": "1"}
    script = f"layerwise() {{ {command}; }}\n{text}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert {path.name for path in folder.iterdir()} <= {"out.json"}, "something else was run"
    return done.stdout


def run_cli(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """What the command writes with --json, given here the words, and the input, that a shell makes of it."""
    *words, piped = in_bash(text, r"""printf '%s\0' "$@"; cat""", folder).decode().split("\0")
    assert words[0] == "trace"
    out = folder / "out.json"
    monkeypatch.setattr(sys, "argv", ["layerwise", "trace", "--json", str(out), *words[1:]])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped.encode()), encoding="utf-8"))
    with pytest.raises(SystemExit) as ended:
        run_app()
    assert not ended.value.code
    return Trace.open(out)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"answer": " Berlin"},
        {"answer": (" Paris", " Berlin"), "track": (" the", " capital"), "positions": "all", "top_k": 3, "lens": "raw"},
        {"answer": " Berlin Germany", "alternatives": (" Berlin Paris",), "positions": "0,2"},
        {"generate": 3, "positions": "1"},
        {"answer": " Berlin", "alternatives": (" Paris", " Rome"), "positions": "1:-1"},
        {"temperatures": (0.5, 2.0)},
    ],
)
def test_the_python_makes_the_trace_again(load_family, asked):
    trace = load_family("gemma2").trace(PROMPT, **asked)
    same_numbers(run_python(python(trace)), trace)


def test_a_wrong_answer_is_read_along_again(load_family):
    request = lw.Request(PROMPT, answers=(" Berlin",), alternatives=(" Paris",), wrong=" Paris")
    [[trace]] = load_family("qwen3").trace_all([request], lenses=("raw",))
    again = run_python(python(trace))
    same_numbers(again, trace)
    assert again.lens == "raw"
    assert again.wrong is not None
    assert np.array_equal(again.wrong.prob, trace.wrong.prob)
    assert recipes(trace)["cli"] is None


TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if style is defined %}{{ style }}{% endif %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TALK = [{"role": "user", "content": HOSTILE[0]}, {"role": "assistant", "content": "It's\t- 1,2\u202e: \0 so"}]


@pytest.fixture(scope="module")
def talking(fresh_parts, tmp_path_factory):
    """Loads a model whose tokenizer has this chat template."""

    def load(template: str) -> lw.Model:
        folder = tmp_path_factory.mktemp("talking")
        hf_model, hf_tokenizer = fresh_parts("qwen3")
        hf_tokenizer.chat_template = template
        hf_model.save_pretrained(folder)
        hf_tokenizer.save_pretrained(folder)
        return lw.load(folder, device="cpu")

    return load


def test_a_conversation_is_had_again_with_its_arguments(talking, tmp_path, monkeypatch):
    trace = talking(TEMPLATE).trace(TALK, answer=" Berlin", alternatives=" Paris", chat_args={"style": "it's\n"})
    again = run_python(python(trace))
    same_numbers(again, trace)
    assert again.request == trace.request
    text = cli(trace)
    assert text.isprintable()
    told = run_cli(text, tmp_path, monkeypatch)
    same_numbers(told, trace)
    assert told.request == trace.request


def test_token_ids_are_read_again(load_family, tmp_path):
    trace = load_family("gemma2").trace([9, 8, 7, 300], answer=[[30, 31]], alternatives=[[30, 32]])
    again = run_python(python(trace))
    same_numbers(again, trace)
    assert again.request == trace.request
    [_, *arguments] = shlex.split(cli(trace))
    app([*arguments, "--json", str(tmp_path / "out.json")], standalone_mode=False)
    told = Trace.open(tmp_path / "out.json")
    assert told.tokens == trace.tokens
    assert told.answer is not None and trace.answer is not None
    assert told.answer.answers == trace.answer.answers
    assert told.request == trace.request


def test_no_command_takes_a_text_after_ids(load_family):
    model = load_family("gemma2")
    assert "--answer-ids=30,31" in cli(model.trace(PROMPT, answer=[" Berlin", [30, 31]]))
    assert recipes(model.trace(PROMPT, answer=[[30, 31], " Berlin"]))["cli"] is None, "the main answer would be another"


def test_a_conversation_with_the_date_in_it_is_asked_again_by_its_ids(talking):
    model = talking("{{ strftime_now('%d %B %Y, %f') }} {{ messages[0].content }} [assistant]")
    with pytest.warns(PromptWarning, match="writes today's date"):
        trace = model.trace("Where is Berlin?", answer=" Germany", chat=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same_numbers(run_python(python(trace)), trace)
    assert "--ids=" in cli(trace) and "--chat" not in cli(trace)


def test_what_is_so_by_default_is_left_out(load_family):
    trace = load_family("qwen3").trace(PROMPT)
    assert f"trace = model.trace({PROMPT!r})" in python(trace)
    assert cli(trace).endswith(f"--device=cpu --dtype=float32 -- '{PROMPT}'")


def test_the_command_makes_the_trace_again(load_family, tmp_path):
    """In a process of its own."""
    trace = load_family("qwen3").trace(
        PROMPT, answer=(" Berlin", "-5"), track=" the", positions="0,2", top_k=3, lens="raw", generate=2
    )
    words = cli(trace).replace("layerwise trace ", "layerwise trace --json out.json ", 1)
    in_bash(words, f'{shlex.quote(sys.executable)} -m layerwise "$@"', tmp_path)
    same_numbers(Trace.open(tmp_path / "out.json"), trace)


def test_the_command_of_a_prompt_that_is_a_dash_or_an_option(load_family, tmp_path, monkeypatch):
    model = load_family("qwen3")
    for prompt in ("-", "--help"):
        same_numbers(run_cli(cli(model.trace(prompt)), tmp_path, monkeypatch), model.trace(prompt))


def test_no_text_becomes_code(load_family, tmp_path, monkeypatch):
    model = load_family("qwen3")
    trace = model.trace("".join(HOSTILE[1:]), answer=HOSTILE[0])
    text = cli(trace)
    assert text.isprintable(), "control characters would be typed into the terminal it is pasted into"
    same_numbers(run_cli(text, tmp_path, monkeypatch), trace)
    again = run_python(python(trace))
    same_numbers(again, trace)
    assert python(trace).replace("\n", "").isprintable()


@pytest.mark.parametrize("text", [*HOSTILE, "", "plain", "\ue000"])
def test_a_quoted_text_is_one_word_of_the_shell(text):
    done = subprocess.run(["bash", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
    assert done.stdout.decode() == text


def test_what_no_command_can_say_has_none(tiny, load_family):
    assert recipes(tiny.trace(PROMPT))["cli"] is None
    assert "layerwise.load(hf_model, tokenizer=hf_tokenizer)" in python(tiny.trace(PROMPT))
    trace = load_family("qwen3").trace(PROMPT)
    assert recipes(replace(trace, request=lw.Request("a\0b")))["cli"] is None
    assert recipes(load_family("qwen3").trace(PROMPT, temperatures=(0.5,)))["cli"] is None


def test_of_a_trace_that_does_not_say_what_was_asked_for_there_is_none(load_family):
    trace = replace(load_family("qwen3").trace(PROMPT), request=None)
    assert recipes(trace) == {"python": None, "cli": None}


def test_a_model_of_the_hub_is_named_with_its_commit(load_family):
    trace = load_family("qwen3").trace(PROMPT)
    info = replace(trace.model, name="qwen3-8b", source="hub", location="Qwen/Qwen3-8B", revision="abc123")
    there = replace(trace, model=info)
    assert "layerwise.load('qwen3-8b', revision='abc123', device='cpu', dtype='float32')" in python(there)
    assert cli(there).startswith("layerwise trace --model=qwen3-8b --revision=abc123 ")


def test_recipes_are_plain_values(load_family):
    assert json.loads(json.dumps(recipes(load_family("qwen3").trace(PROMPT)))).keys() == {"python", "cli"}
