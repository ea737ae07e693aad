"""Vectors of edits that are in files: read here, where somebody names them, and nowhere else."""

import shlex
from pathlib import Path

from layerwise.errors import EditError
from layerwise.text import one_line

_ENDINGS = (".npy", ".safetensors")


def with_vectors(edit: str) -> str:
    """Return an edit's text with numbers in the place of files, as in ``vector=direction.npy``.

    Raises:
        EditError: a file is not there, or holds no vector.
    """
    if "vector=" not in edit:
        return edit
    try:
        words = shlex.split(edit)
    except ValueError:
        return edit  # which is refused where it is read
    return shlex.join(_with_numbers(word) for word in words)


def _with_numbers(word: str) -> str:
    name, _, value = word.partition("=")
    return f"{name}={_read(Path(value))}" if name == "vector" and value.endswith(_ENDINGS) else word


def _read(path: Path) -> str:
    """Return the text of a file's one vector."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from layerwise.interventions.along import vector_text

    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else load_file(path)
    except (OSError, ValueError, EOFError, SafetensorError) as error:
        raise EditError(f"No vector could be read from {one_line(str(path))}: {error}.") from error
    arrays = [*found.values()] if isinstance(found, dict) else [found]
    if len(arrays) != 1 or arrays[0].squeeze().ndim != 1 or arrays[0].dtype.kind not in "fiu":
        shapes = ", ".join(f"{each.dtype} {list(each.shape)}" for each in arrays)
        raise EditError(f"{one_line(str(path))} should hold one vector of numbers; it holds {shapes}.")
    return vector_text(arrays[0].squeeze())
