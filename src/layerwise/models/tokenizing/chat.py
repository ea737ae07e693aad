"""Conversations as a model's chat template writes them, with nothing of them lost on the way."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta
from jinja2.ext import Extension

from layerwise.errors import PromptError
from layerwise.text import harmless, one_line

Messages = Sequence[Mapping[str, str]]
"""Each with its ``role`` and its ``content``."""

_INSTRUCTIONS = {"system", "developer"}
"""Roles whose text a template may put anywhere: some write it into the user's last message."""
_SET_HERE = {"messages", "add_generation_prompt"}
_NO_ARGUMENTS = {"raise_exception", *jinja2.Environment().globals}
"""What transformers and Jinja give every template."""
_MARK = "CONTINUE_FINAL_MESSAGE_TAG"
"""What transformers puts after a last message that goes on, to find its end in what the template writes."""
_DATE = "strftime_now"
"""By which a template writes the date of today."""


def render(hf_tokenizer: Any, messages: Messages, arguments: Mapping[str, Any]) -> str:
    """Return a conversation as the chat template writes it, ready for a reply.

    Where the last message is the assistant's, it is the reply's beginning, and is left open.

    Args:
        hf_tokenizer: a transformers tokenizer.
        messages: one or more.
        arguments: of the template, such as ``enable_thinking``, by name.

    Raises:
        PromptError: there is no template, it has no such argument, it refuses the conversation, or what it writes
            lacks some of it.
    """
    if not hf_tokenizer.chat_template:
        raise PromptError(
            "This model's tokenizer has no chat template, so it is most likely a base model that was "
            "never trained on conversations. Trace the prompt without --chat."
        )
    if arguments:
        _expect_arguments(hf_tokenizer, arguments)
    text = _written(hf_tokenizer, messages, arguments)
    if not isinstance(text, str):
        raise PromptError("The model's chat template writes several conversations instead of one.")
    _expect_whole(hf_tokenizer, messages, arguments, text)
    return text


def writes_the_date(hf_tokenizer: Any, messages: Messages, arguments: Mapping[str, Any]) -> bool:
    """Return whether what the template writes depends on the day."""
    if _DATE not in _variables(hf_tokenizer, arguments):
        return False
    try:  # with a text in the place of that function, which cannot be called
        timeless = _written(hf_tokenizer, messages, {**arguments, _DATE: ""})
    except PromptError:
        return True
    return timeless != _written(hf_tokenizer, messages, arguments)


def _written(hf_tokenizer: Any, messages: Messages, arguments: Mapping[str, Any]) -> str:
    goes_on = messages[-1]["role"] == "assistant"
    try:
        text = hf_tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            **arguments,
        )
    except Exception as error:  # templates are programs of their own, and raise what they like
        raise PromptError(f"The model's chat template refused this conversation: {harmless(str(error))}") from error
    if _MARK in text and not any(_MARK in message["content"] for message in messages):
        raise PromptError(
            "The model's chat template writes the last message more than once, so where the reply's beginning ends "
            "cannot be said: transformers cuts the text off after one of them and leaves its own mark "
            f"({_MARK}) in the others. Write the conversation out as a prompt, and trace it without --chat."
        )
    return text


def _expect_arguments(hf_tokenizer: Any, arguments: Mapping[str, Any]) -> None:
    """Stop at an argument that the template never looks at: it would change nothing, and nobody would see that."""
    own = {*inspect.signature(hf_tokenizer.apply_chat_template).parameters} - {"tools", "documents"}
    mentioned = _variables(hf_tokenizer, arguments)
    known = mentioned - _SET_HERE - _NO_ARGUMENTS - {_DATE} - own
    if unknown := [name for name in arguments if name not in known]:
        others = sorted(known - {*hf_tokenizer.special_tokens_map})
        raise PromptError(
            f"The model's chat template has no argument {one_line(repr(unknown[0]), 60)}, so that it would change "
            f"nothing. Its arguments are: {one_line(', '.join(others), 300) or 'none'}."
        )


def _variables(hf_tokenizer: Any, arguments: Mapping[str, Any]) -> set[str]:
    """Return the names that the template looks up and does not set itself."""
    try:
        source = hf_tokenizer.get_chat_template(tools=arguments.get("tools"))
        return jinja2.meta.find_undeclared_variables(_PARSER.parse(source))
    except (ValueError, jinja2.TemplateError) as error:
        raise PromptError(f"The model's chat template cannot be read: {harmless(str(error))}") from error


class _Generation(Extension):
    """``{% generation %}``, by which templates mark the assistant's part for training; no part of Jinja."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja has it

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_PARSER = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", _Generation], autoescape=True)
"""Reads templates, and never runs one."""


def _expect_whole(hf_tokenizer: Any, messages: Messages, arguments: Mapping[str, Any], text: str) -> None:
    """Stop where the template leaves out, changes or reorders what was said.

    A short text may stand in the template itself. So each is looked for, and then a word in its place that stands
    nowhere else.
    """
    _expect_in_order(messages, [message["content"].strip() for message in messages], text)
    marks = [f"layerwise{number}marks{number}this" if m["content"] else "" for number, m in enumerate(messages)]
    try:
        marked = _written(
            hf_tokenizer, [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)], arguments
        )
    except PromptError:  # a template may well expect something of a text; then its own text has to do
        return
    _expect_in_order(messages, marks, marked)


def _expect_in_order(messages: Messages, contents: Sequence[str], text: str) -> None:
    at = 0
    for message, content in zip(messages, contents, strict=True):
        anywhere = message["role"] in _INSTRUCTIONS
        found = text.find(content, 0 if anywhere else at)
        if found < 0:
            done = "moves" if content in text else "leaves out or changes"
            raise PromptError(
                f"The model's chat template {done} the {one_line(message['role'], 40)}'s message "
                f"{one_line(repr(message['content']), 80)}, so that the model would be asked something else. "
                f"{_ADVICE_SYSTEM if anywhere else _ADVICE}"
            )
        at = at if anywhere else found + len(content)


_ADVICE_SYSTEM = "Put the instruction into the user's message."
_ADVICE = (
    "Leave out what the template takes away, or write the conversation out as a prompt, with the model's own marks, "
    "and trace it without --chat."
)
