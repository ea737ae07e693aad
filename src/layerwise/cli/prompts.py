"""What is asked, as a command is told it: as an argument, from a file or standard input, as ids, as a conversation."""

import codecs
import json
import re
import sys
from pathlib import Path
from typing import Any

from layerwise.cli.console import say_note
from layerwise.errors import PromptError
from layerwise.text import one_line

_STDIN = "-"


def given_prompt(prompt: str | None, file: str | None, ids: str | None, conversation: str | None) -> Any:
    """Return the one prompt that was given: a text, a list of token ids, or a list of messages.

    Raises:
        PromptError: there is none or more than one, or it cannot be read.
    """
    if [prompt, file, ids, conversation].count(None) != 3:
        raise PromptError(
            "Give one prompt: as an argument (- reads standard input), with --prompt-file, with --ids, or with "
            "--conversation."
        )
    if ids is not None:
        return read_ids(ids, "--ids")
    if conversation is not None:
        return _messages(conversation)
    if file is not None:
        return read_text(file)
    return read_text(_STDIN) if prompt == _STDIN else prompt


def read_text(source: str) -> str:
    """Return the text of a file or, for ``-``, of standard input, without what only the file adds.

    A byte order mark in front and one line end at the end belong to the file, and so do line ends of two characters
    (CRLF): they are taken off, or made line feeds, and a line on stderr says so.

    Raises:
        PromptError: it cannot be read, or is not UTF-8.
    """
    name = "standard input" if source == _STDIN else source
    content = _bytes_of(source, name)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        kind = " It looks like UTF-16." if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
        raise PromptError(
            f"{name} is not UTF-8 (byte {error.start}), in which prompts are read.{kind} Save it again in UTF-8."
        ) from error
    done = []
    if text.startswith("\ufeff"):
        text = text[1:]
        done.append("the byte order mark in front was left out")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        done.append("line ends with a carriage return (CRLF) were read as line feeds")
    if text.endswith("\n"):
        text = text[:-1]
        done.append("the line end at its end was left out")
    if done:
        say_note(f"Read from {name}: {', '.join(done)}.")
    return text


def read_ids(given: str, option: str) -> list[int]:
    """Return token ids given as ``1,2,3``, with or without brackets around them.

    Raises:
        PromptError: one is no whole number; the message names the option.
    """
    parts = [part for part in re.split(r"[\s,]+", given.strip().removeprefix("[").removesuffix("]")) if part]
    if not all(re.fullmatch(r"\d{1,18}", part, re.ASCII) for part in parts):
        raise PromptError(
            f"{option} {one_line(repr(given), 80)} should be whole numbers with commas between: {option} 1,2,3."
        )
    return [int(part) for part in parts]


def read_chat_args(given: list[str]) -> dict[str, Any]:
    """Return template arguments given as ``KEY=VALUE``: a value that is JSON is read so, and any other is a text.

    Raises:
        PromptError: one has no name, or two have the same.
    """
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.strip() or name in found:
            what = "stands there twice" if name in found else "has no name, or no value"
            raise PromptError(
                f"--chat-arg {one_line(repr(one), 80)} {what}. Write KEY=VALUE, as in --chat-arg enable_thinking=false."
            )
        try:
            found[name] = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _bytes_of(source: str, name: str) -> bytes:
    try:
        if source != _STDIN:
            return Path(source).read_bytes()
        binary = getattr(sys.stdin, "buffer", None)
        return binary.read() if binary else sys.stdin.read().encode()
    except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
        raise PromptError(f"{one_line(name)} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _messages(source: str) -> list[dict[str, Any]]:
    content = _bytes_of(source, "standard input" if source == _STDIN else source)
    try:
        found = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PromptError(
            f"The conversation {one_line(source)} is not JSON in UTF-8: {one_line(str(error))}."
        ) from error
    if not isinstance(found, list) or not found or not all(isinstance(message, dict) for message in found):
        raise PromptError(
            f"The conversation {one_line(source)} should be a list of messages, as in "
            '[{"role": "user", "content": "Hello"}].'
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)
