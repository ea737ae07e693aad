"""What makes a trace again: a piece of Python, and a command for a shell."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from layerwise.lens_spec import LOGIT
from layerwise.tracing.prompt_tokens import DATED
from layerwise.tracing.request import Answered, Message, Request
from layerwise.tracing.trace import Trace

_ON_THE_HUB = "hub"
_IN_MEMORY = "memory"


def recipes(trace: Trace) -> dict[str, str | None]:
    """Return `python` and `cli`: text to paste that gives this trace again on this machine.

    Every text is quoted so that it stays a text; what could steer a terminal while it is pasted is spelled out.
    `cli` is None where a command cannot say it: of a model in memory, of a wrong answer that was read along, of
    temperatures, of answers as text after others as token ids, and of texts with a NUL, which no argument of a command
    can hold. Both are None where the trace does not say what was asked for. A conversation that holds the date of its
    day is asked again with its token ids.
    """
    request = trace.request
    if request is None:
        return {"python": None, "cli": None}
    if DATED in trace.notes:
        ids = tuple(token.id for token in trace.tokens)
        request = replace(request, prompt=ids, chat=False, system=None, chat_args={})
    return {"python": _python(trace, request), "cli": _cli(trace, request)}


def _python(trace: Trace, request: Request) -> str:
    asked, lens = _asked(request), _lens(trace)
    model = f"model = {_loaded(trace)}"
    prompt = repr(_plain(request))
    if request.wrong is None:
        asked.pop("leaders", None)  # which `Model.trace` always keeps
        asked = {("answer" if name == "answers" else name): value for name, value in asked.items()}
        return f"import layerwise\n\n{model}\ntrace = model.trace({_arguments(prompt, asked | lens)})\n"
    read = f"request = layerwise.Request({_arguments(prompt, asked)})"
    return f"import layerwise\n\n{model}\n{read}\ntrace = model.trace_all([request], lenses=({trace.lens!r},))[0][0]\n"


def _plain(request: Request) -> str | list[int] | list[dict[str, str]]:
    """Return a prompt as it is given: a text, ids, or messages as dicts."""
    if isinstance(request.prompt, str):
        return request.prompt
    messages = [{"role": m.role, "content": m.content} for m in request.prompt if isinstance(m, Message)]
    return messages or [i for i in request.prompt if isinstance(i, int)]


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
    if _mixes_ids_and_texts(request.answers) or _mixes_ids_and_texts(request.alternatives):
        return None
    model, asked = trace.model, _asked(request)
    options: list[tuple[str, Any]] = [("model", _name(trace))]
    if model.source == _ON_THE_HUB and model.revision:
        options.append(("revision", model.revision))
    options += [("device", model.device), ("dtype", model.dtype)]
    options += [_answered("answer", each) for each in asked.pop("answers", ())]
    options += [_answered("alternative", each) for each in asked.pop("alternatives", ())]
    options += [("track", text) for text in asked.pop("track", ())]
    options += [("edit", text) for text in asked.pop("edits", ())]
    options += [("chat-arg", f"{name}={json.dumps(value)}") for name, value in asked.pop("chat_args", {}).items()]
    asked.pop("leaders", None)  # which the command always keeps
    flags = ["--chat"] if asked.pop("chat", False) else []
    options += [(name.replace("_", "-"), value) for name, value in (asked | _lens(trace)).items()]
    if "\0" in str(request.prompt) or any("\0" in str(value) for _, value in options):
        return None
    start, options, end = _prompted(_plain(request), options)
    # --name=value holds values that begin with a dash.
    said = " ".join([*(f"--{name}={quoted(str(value))}" for name, value in options), *flags])
    return f"{start}layerwise trace {said}{end}"


def _mixes_ids_and_texts(answers: Sequence[Answered]) -> bool:
    """Return whether a text stands after token ids: a command takes all texts first."""
    are_texts = [isinstance(each, str) for each in answers]
    return are_texts != sorted(are_texts, reverse=True)


def _answered(option: str, answer: Answered) -> tuple[str, str]:
    return (option, answer) if isinstance(answer, str) else (f"{option}-ids", ",".join(map(str, answer)))


def _prompted(
    prompt: str | list[int] | list[dict[str, str]], options: list[tuple[str, Any]]
) -> tuple[str, list[tuple[str, Any]], str]:
    """Return what stands before the command, its options, and what stands after them, so that it has this prompt."""
    if isinstance(prompt, str):
        # After -- it may begin with a dash; one that is a dash alone means standard input, so it comes from there.
        return ("printf %s - | ", options, " -- -") if prompt == "-" else ("", options, f" -- {quoted(prompt)}")
    if isinstance(prompt[0], int):
        return "", [*options, ("ids", ",".join(map(str, prompt)))], ""
    return f"printf %s {quoted(json.dumps(prompt))} | ", [*options, ("conversation", "-")], ""


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
    names, by_default = [field.name for field in fields(request) if field.name != "prompt"], Request("")
    return {name: value for name in names if (value := getattr(request, name)) != getattr(by_default, name)}


def _lens(trace: Trace) -> dict[str, str]:
    return {} if trace.lens == LOGIT.name else {"lens": trace.lens}
