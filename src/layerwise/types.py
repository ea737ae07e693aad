"""Records shared by every room: data only.

Axis names, used in array shapes everywhere:

- ``layer``: blocks done, 0 … n (0 is what enters the first block), so the axis has n + 1 entries
- ``position``: index of a token in its sequence
- ``rank``: place in a top-k list, best first
- ``token``: index into the vocabulary
- ``d_model``: width of the residual stream
"""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str, int, int | None], None]
"""Told of long work: what is done, bytes or steps done, and how many in all where that is known."""


@dataclass(frozen=True)
class Token:
    """A token of a prompt: its id and its text, leading space included."""

    id: int
    text: str


@dataclass(frozen=True)
class TokenProb:
    """A token with the probability that a readout gives it."""

    id: int
    text: str
    prob: float
    logprob: float
    """Natural logarithm of `prob`."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model is and how it was run here: the provenance that every result carries."""

    name: str
    """As the user asked for it."""
    source: str
    """``bundled``, ``hub``, ``folder``, ``gguf`` or ``memory``; ``random`` for a random-weights control."""
    location: str
    """Bundled name, hub id, or path."""
    revision: str | None
    """Commit on the hub, where there is one."""
    weights_sum: str | None
    """SHA-256 of the weights; which bytes it covers depends on `source`. None for a streamed model whose
    files were never hashed: that would take as long as reading them, and a stored run does it."""
    architecture: str
    """Class name in transformers."""
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    context_length: int
    parameters: int
    dtype: str
    """Of the weights as run, for instance ``float32``."""
    device: str
    """``cpu``, ``cuda`` or ``mps``."""


def shown_name(name: str, parts: int = 1) -> str:
    """Return a model's name as others are shown it: of a path the last part, or parts; any other as it is.

    A path tells who its user is and how their disk is arranged. ``random:`` stays in front.
    """
    prefix, path = ("random:", name[7:]) if name.startswith("random:") else ("", name)
    is_path = path.startswith((".", "/", "~", "\\")) or path.lower().endswith(".gguf") or path.count("/") > 1
    if not is_path and "\\" not in path:
        return name
    found = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..", "~")]
    return prefix + ("/".join(found[-parts:]) or path)
