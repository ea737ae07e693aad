"""What makes a trace again: a piece of Python, and a command for a shell."""

import shlex
from dataclasses import fields
from typing import Any

from layerwise.tracing.request import Request
from layerwise.tracing.trace import Trace

_ON_THE_HUB = "hub"
_IN_MEMORY = "memory"
_DEFAULT_LENS = "logit"


def recipes(trace: Trace) -> dict[str, str | None]:
    """Return `python` and `cli`: text to paste that gives this trace again on this machine.

    Every text is quoted so that it stays a text; what could steer a terminal while it is pasted is spelled out.
    `cli` is None where a command cannot say it: of a model in memory, of a wrong answer that was read along, of
    temperatures, and of texts with a NUL, which no argument of a command can hold. Both are None where the trace
    does not say what was asked for.
    """
    if trace.request is None:
        return {"python": None, "cli": None}
    return {"python": _python(trace, trace.request), "cli": _cli(trace, trace.request)}


def _python(trace: Trace, request: Request) -> str:
    asked, lens = _asked(request), _lens(trace)
    model = f"model = {_loaded(trace)}"
    prompt = repr(request.prompt)
    if request.wrong is None:
        asked.pop("leaders", None)  # which `Model.trace` always keeps
        asked = {("answer" if name == "answers" else name): value for name, value in asked.items()}
        return f"import layerwise\n\n{model}\ntrace = model.trace({_arguments(prompt, asked | lens)})\n"
    read = f"request = layerwise.Request({_arguments(prompt, asked)})"
    return f"import layerwise\n\n{model}\n{read}\ntrace = model.trace_all([request], lenses=({trace.lens!r},))[0][0]\n"


def _loaded(trace: Trace) -> str:
    model = trace.model
    if model.source == _IN_MEMORY:
        return "layerwise.load(hf_model, tokenizer=hf_tokenizer)  # the model that was in memory"
    how: dict[str, Any] = {"revision": model.revision} if model.source == _ON_THE_HUB and model.revision else {}
    return f"layerwise.load({_arguments(repr(_name(trace)), how | {'device': model.device, 'dtype': model.dtype})})"


def _arguments(first: str, named: dict[str, Any]) -> str:
    return ", ".join([first, *(f"{name}={value!r}" for name, value in named.items())])


def _cli(trace: Trace, request: Request) -> str | None:
    if trace.model.source == _IN_MEMORY or request.wrong or request.temperatures:
        return None
    model, asked = trace.model, _asked(request)
    options: list[tuple[str, Any]] = [("model", _name(trace))]
    if model.source == _ON_THE_HUB and model.revision:
        options.append(("revision", model.revision))
    options += [("device", model.device), ("dtype", model.dtype)]
    options += [("answer", text) for text in asked.pop("answers", ())]
    options += [("alternative", text) for text in asked.pop("alternatives", ())]
    options += [("track", text) for text in asked.pop("track", ())]
    asked.pop("leaders", None)  # which the command always keeps
    flags = ["--chat"] if asked.pop("chat", False) else []
    options += [(name.replace("_", "-"), value) for name, value in (asked | _lens(trace)).items()]
    if any("\0" in str(text) for _, text in [*options, ("prompt", request.prompt)]):
        return None
    # A prompt behind -- may begin with a dash; one that is a dash alone means standard input, so it comes from there.
    start, prompt = ("printf %s - | ", "-") if request.prompt == "-" else ("", quoted(request.prompt))
    # --name=value holds values that begin with a dash.
    said = " ".join([*(f"--{name}={quoted(str(value))}" for name, value in options), *flags])
    return f"{start}layerwise trace {said} -- {prompt}"


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


def _asked(request: Request) -> dict[str, Any]:
    """Return what is asked for beside the prompt, what is so by default left out."""
    asked = {field.name: getattr(request, field.name) for field in fields(request) if field.name != "prompt"}
    defaults = {field.name: field.default for field in fields(request)}
    return {name: value for name, value in asked.items() if value != defaults[name]}


def _lens(trace: Trace) -> dict[str, str]:
    return {} if trace.lens == _DEFAULT_LENS else {"lens": trace.lens}
