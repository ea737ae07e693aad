"""What can be read of which decoder architecture: a table, made by trying each with a tiny random model."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

YES = "yes"

FILE = Path(__file__).with_name("capabilities.json")
"""Written by `python -m benchmarks.capabilities`."""


@dataclass(frozen=True)
class Capability:
    """What can be done with one architecture: each field is ``yes``, or says why not."""

    architecture: str
    """The class's name in a checkpoint's configuration."""
    lens: str
    """Whether it is read layer by layer."""
    streamed: str
    """Whether it is read so from disk too, with the same numbers."""
    shared_beginnings: str
    """Whether prompts that begin alike go through it once."""
    gguf: str
    """Whether GGUF files of it are read as their originals, with all settings that `benchmarks.gguf` tries."""
    bridge: str
    """Whether TransformerLens's bridge runs it, and its logit lens gives the same numbers."""


@dataclass(frozen=True)
class Capabilities:
    """All architectures that TransformerLens's bridge knows, and the packages that they were tried with."""

    transformers: str
    transformer_lens: str
    rows: tuple[Capability, ...]


@cache
def capabilities() -> Capabilities:
    """Return the table that comes with layerwise; nothing is tried, and no model library imported."""
    held = json.loads(FILE.read_text(encoding="utf-8"))
    rows = tuple(Capability(name, **row) for name, row in held["architectures"].items())
    return Capabilities(held["transformers"], held["transformer_lens"], rows)
