"""Files that `torch.save` wrote, opened without running anything that is in them."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

from layerwise.errors import LensError
from layerwise.text import harmless


def read_pickled(path: Path) -> dict[Any, Any]:
    """Return the dictionary in a file that `torch.save` wrote: tensors and plain values only.

    Its tensors lie in the file until they are used: copy what is kept.

    Raises:
        LensError: it asks for code, and none of it was run; or it is damaged, or holds something else.
    """
    import torch

    shown = harmless(str(path))
    try:
        path.open("rb").close()
    except OSError as error:
        raise LensError(f"{shown} cannot be read: {error.strerror or error}. Check the lens's path.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how a file was pickled, which says nothing of whether it is read right
            # Where a file is mapped that somebody cuts short, the process ends: zip archives end with their contents.
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise LensError(
            f"{shown} is refused unopened: it is no file of tensors and plain values alone, and opening it could run "
            "any code. Ask whoever published it for one that torch.load(…, weights_only=True) opens, or fit the lens "
            "with `layerwise lens fit`."
        ) from error
    except Exception as error:  # of a damaged file, anything
        raise LensError(f"{shown} is no whole file of torch.save. Download it again.") from error
    if not isinstance(held, dict):
        raise LensError(f"{shown} holds a {type(held).__name__}, and a published lens is a dictionary.")
    return held


def square(matrix: Any, width: int, what: str) -> Any:
    """Return a copy of a finite matrix of floats [width, width]. Raises LensError."""
    return _checked(matrix, (width, width), what)


def vector(values: Any, width: int, what: str) -> Any:
    """Return a copy of a finite vector of floats [width]. Raises LensError."""
    return _checked(values, (width,), what)


def _checked(values: Any, shape: tuple[int, ...], what: str) -> Any:
    import torch

    if not isinstance(values, torch.Tensor) or tuple(values.shape) != shape or not values.is_floating_point():
        found = f"{values.dtype} {list(values.shape)}" if isinstance(values, torch.Tensor) else type(values).__name__
        raise LensError(f"{what} is {found}; expected floats of {list(shape)}.")
    copied = values.detach().clone()
    if not bool(copied.isfinite().all()):
        raise LensError(f"{what} holds NaN or infinite numbers, so all that is read through it would be.")
    return copied
