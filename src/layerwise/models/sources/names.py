"""What a model is asked for by, and where it is to be had."""

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from layerwise.errors import CorruptFileError, ModelError, UnknownModelError
from layerwise.models.sources.bundled import BUNDLED
from layerwise.text import harmless

DEFAULT_MODEL = "gemma-3-270m"

ALIASES = {
    "qwen3-8b": "Qwen/Qwen3-8B",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "gemma-2-9b": "google/gemma-2-9b",
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_RANDOM = re.compile(r"\s*random:", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    asked: str
    """The name as it was given."""
    kind: Literal["bundled", "hub", "folder", "gguf"]
    location: str
    """A bundled model's name, a hub repository's id, or the absolute path of a folder or file."""
    revision: str | None = None
    """The branch, tag or commit that was asked for; only the hub has them."""
    random: bool = False
    """Whether only configuration and tokenizer are wanted from there, and the weights are random."""


def resolve(name: str | Path, revision: str | None = None) -> Source:
    """Return where the model called `name` is to be had; nothing is fetched or opened.

    Tried in this order: a bundled model, an alias (both in any case), a folder or GGUF file on
    this machine, an ``organisation/name`` on the hub. A `Path` is only ever a folder or file.
    After ``random:`` each of these stands for its architecture with random weights.

    Raises:
        UnknownModelError: Nothing has this name; near matches are listed.
        CorruptFileError: The name is that of a file that is not GGUF.
        ModelError: A revision was given for something that is not on the hub.
    """
    if isinstance(name, str) and (prefix := _RANDOM.match(name)):
        return replace(_resolve(name[prefix.end() :], revision), asked=name, random=True)
    return _resolve(name, revision)


def suggestions(name: str) -> list[str]:
    """Return up to three bundled names, aliases and their hub ids that resemble `name`, best first."""
    known = {each.casefold(): each for each in [*BUNDLED, *ALIASES, *ALIASES.values()]}
    near = difflib.get_close_matches(name.casefold(), list(known), n=3, cutoff=0.6)
    return [known[each] for each in near]


def _resolve(name: str | Path, revision: str | None) -> Source:
    source = _named(name, revision) if isinstance(name, str) else None
    source = source or _on_this_machine(str(name))
    if source is None and isinstance(name, str) and not _looks_like_a_path(name) and _HUB_ID.fullmatch(name):
        source = Source(name, "hub", name, revision)
    if source is None:
        raise UnknownModelError(_unknown(name))
    if revision is not None and source.kind != "hub":
        raise ModelError(
            f"Revision {harmless(revision)!r} was asked for, but {harmless(str(name))!r} is a {source.kind} "
            "model and only models on the hub have revisions. Leave the revision out."
        )
    return source


def _named(name: str, revision: str | None) -> Source | None:
    folded = name.strip().casefold()
    if folded in BUNDLED:
        return Source(name, "bundled", folded)
    if folded in ALIASES:
        return Source(name, "hub", ALIASES[folded], revision)
    return None


def _on_this_machine(name: str) -> Source | None:
    if not name:
        return None
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, with a NUL, or with an unknown ~user
        return None
    if is_folder:
        return Source(name, "folder", str(path.resolve()))
    if not is_file:
        return None
    if path.suffix.lower() != ".gguf" and not _has_gguf_magic(path):
        raise CorruptFileError(
            f"{harmless(name)} is not a GGUF file: it neither ends in .gguf nor starts with the bytes GGUF. "
            "A model is a folder in the hub's layout (config.json, *.safetensors, tokenizer.json) or one "
            "GGUF file; for a safetensors file, name the folder that it is in."
        )
    return Source(name, "gguf", str(path.resolve()))


def _has_gguf_magic(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return opened.read(4) == b"GGUF"
    except OSError as error:
        raise ModelError(f"{harmless(str(path))} cannot be read: {error.strerror}.") from error


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.lower().endswith(".gguf") or name.count("/") > 1


def _unknown(name: str | Path) -> str:
    shown = harmless(str(name))
    if isinstance(name, Path) or _looks_like_a_path(name):
        return f"There is no file or folder {shown!r}. Check the path; it is read from {Path.cwd()}."
    near = suggestions(name)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"No model is called {shown!r}.{meant} Bundled models: {', '.join(BUNDLED)}; short names: "
        f"{', '.join(ALIASES)}. Or give a hub id (organisation/name), a folder (./my-model) or a GGUF file "
        "(./my-model.gguf)."
    )
