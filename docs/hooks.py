"""What of the site is computed while it is built: the command line's reference, from the commands themselves."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands where a page asks for them. MkDocs calls this for every page."""
    return markdown.replace(MARK, commands_as_markdown()) if MARK in markdown else markdown


def commands_as_markdown() -> str:
    """Return a section for every command: its help, an example, and what it takes."""
    from layerwise.cli.app import app

    return "\n\n".join(_section(path, command) for path, command in commands(typer.main.get_command(app)))


def commands(group: Any, path: tuple[str, ...] = ("layerwise",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, with the words that it is called by."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def _section(path: tuple[str, ...], command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help or "").partition("Example: ")
    context = command.make_context(" ".join(path), [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [f"| `{names}` | {_told(told)} |".replace("\n", " ") for names, told in filter(None, records)]
    shown = f"```bash\n{' '.join(example.split())}\n```" if example else ""
    parts = [f"## {' '.join(path)}", _told(text.strip()), shown, "\n".join(["| takes | |", "|---|---|", *rows])]
    return "\n\n".join(part for part in parts if part)


def _told(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
