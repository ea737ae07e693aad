"""Which model, and how it is to be loaded: all that another process needs to load the same."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, and how it is to run. Plain values, so that it can be sent to another process."""

    name: str | Path
    """A bundled name, an alias, a hub id, a folder in the hub's layout, a GGUF file, or any of these after ``random:``
    for its architecture with random weights."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    device: str = "auto"
    """``auto`` (cuda, mps, cpu: the first with room), or one of those."""
    dtype: str = "auto"
    """``auto`` (the checkpoint's; float32 on the CPU where that fits), ``float32``, ``bfloat16`` or ``float16``."""
    memory: str | int = "auto"
    """How much the process may take, as in ``4GB``: a larger model is streamed from disk. ``auto``: what is free."""
    trust_remote_code: bool = False
    """Run the Python code that comes with an architecture which transformers doesn't know."""
