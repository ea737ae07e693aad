"""What makes a trace again: a piece of Python, and a command for a shell."""

import shlex
from collections.abc import Sequence
from typing import Any

from layerwise.questions.answers import Answer
from layerwise.tracing.trace import Trace

_ON_THE_HUB = "hub"
_IN_MEMORY = "memory"
_DEFAULTS = {"lens": "logit", "positions": "last", "top_k": 5, "generate": 0}


def recipes(trace: Trace) -> dict[str, str | None]:
    """Return `python` and `cli`: text to paste that gives this trace again on this machine.

    Every text is quoted so that it stays a text; what could steer a terminal while it is pasted is spelled out.
    `cli` is None where a command cannot say it: of a model in memory, of a wrong answer that was read along, of
    temperatures, and of texts with a NUL, which no argument of a command can hold.
    """
    return {"python": _python(trace), "cli": _cli(trace)}


def _python(trace: Trace) -> str:
    asked = _asked(trace) | ({"temperatures": tuple(t for t, _ in trace.temperatures)} if trace.temperatures else {})
    model = f"model = {_loaded(trace)}"
    prompt = repr(trace.prompt)
    if trace.wrong is None:
        asked = {("answer" if name == "answers" else name): value for name, value in asked.items()}
        return f"import layerwise\n\n{model}\ntrace = model.trace({_arguments(prompt, asked)})\n"
    lens = asked.pop("lens", _DEFAULTS["lens"])
    asked |= {"wrong": trace.wrong.answers[0].text, "leaders": trace.leaders is not None}
    request = f"request = layerwise.Request({_arguments(prompt, asked)})"
    return f"import layerwise\n\n{model}\n{request}\ntrace = model.trace_all([request], lenses=({lens!r},))[0][0]\n"


def _loaded(trace: Trace) -> str:
    model = trace.model
    if model.source == _IN_MEMORY:
        return "layerwise.load(hf_model, tokenizer=hf_tokenizer)  # the model that was in memory"
    how: dict[str, Any] = {"revision": model.revision} if model.source == _ON_THE_HUB and model.revision else {}
    return f"layerwise.load({_arguments(repr(_name(trace)), how | {'device': model.device, 'dtype': model.dtype})})"


def _arguments(first: str, named: dict[str, Any]) -> str:
    return ", ".join([first, *(f"{name}={value!r}" for name, value in named.items())])


def _cli(trace: Trace) -> str | None:
    if trace.model.source == _IN_MEMORY or trace.wrong or trace.temperatures:
        return None
    model, asked = trace.model, _asked(trace)
    options = [("model", _name(trace))]
    if model.source == _ON_THE_HUB and model.revision:
        options.append(("revision", model.revision))
    options += [("device", model.device), ("dtype", model.dtype)]
    options += [("answer", text) for text in asked.pop("answers", ())]
    options += [("alternative", text) for text in asked.pop("alternatives", ())]
    options += [("track", text) for text in asked.pop("track", ())]
    options += [(name.replace("_", "-"), str(value)) for name, value in asked.items()]
    if any("\0" in text for _, text in [*options, ("prompt", trace.prompt)]):
        return None
    # A prompt behind -- may begin with a dash; one that is a dash alone means standard input, so it comes from there.
    start, prompt = ("printf %s - | ", "-") if trace.prompt == "-" else ("", quoted(trace.prompt))
    # --name=value holds values that begin with a dash.
    return f"{start}layerwise trace {' '.join(f'--{name}={quoted(value)}' for name, value in options)} -- {prompt}"


def quoted(text: str) -> str:
    """Return a text as one word for bash and zsh, whatever is in it but NUL.

    Control and format characters are written as escapes (``$'…'``): pasted as they are, an escape sequence could end
    the terminal's bracketed paste, and what follows it would be typed as commands.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(character) for character in text) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _name(trace: Trace) -> str:
    """Return what the model is asked for by, from wherever that is done."""
    return trace.model.location if trace.model.source in {"folder", "gguf"} else trace.model.name


def _asked(trace: Trace) -> dict[str, Any]:
    """Return what is asked for beside the prompt, what is so by default left out."""
    answers = trace.answer.answers if trace.answer else ()
    asked: dict[str, Any] = {}
    if answers:
        asked["answers"] = tuple(answer.text for answer in answers)
    if alternatives := _alternatives(trace, answers):
        asked["alternatives"] = alternatives
    if trace.tracked:
        asked["track"] = tuple(tracked.token.text for tracked in trace.tracked)
    numbers = {
        "lens": trace.lens,
        "positions": _positions(trace),
        "top_k": trace.top_ids.shape[-1],
        "generate": len(trace.generated),
    }
    return asked | {name: value for name, value in numbers.items() if value != _DEFAULTS[name]}


def _alternatives(trace: Trace, answers: Sequence[Answer]) -> tuple[str, ...]:
    """Return alternatives that make the same tokens decide; none where they do so by themselves.

    A trace does not hold those that were given. One that goes along with an answer up to its deciding token, and is
    then over, settles the same; and where the very first decides, one that has another there.
    """
    by_itself = [next((i for i, token in enumerate(answer.tokens) if token.text.strip()), 0) for answer in answers]
    if by_itself == [answer.deciding_index for answer in answers]:
        return ()
    shared = ["".join(token.text for token in answer.tokens[: answer.deciding_index]) for answer in answers]
    firsts = {answer.ids[0] for answer in answers}
    other = next((token.text for token in trace.output if token.id not in firsts), None)
    return tuple(dict.fromkeys(text for text in (*shared, *([] if any(shared) or other is None else [other])) if text))


def _positions(trace: Trace) -> str:
    prompt = [position for position in trace.positions if position < len(trace.tokens)]
    if prompt == [len(trace.tokens) - 1]:
        return "last"
    return "all" if len(prompt) == len(trace.tokens) else ",".join(map(str, prompt))
