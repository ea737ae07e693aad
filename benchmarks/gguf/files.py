"""Two files beside each other."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

_SAID_BY_US = ("general.", "tokenizer.", "GGUF.")


def differences(ours: Path, theirs: Path) -> list[str]:
    """Return what differs between our file and the converter's: keys, their types and values; tensors, bit by bit."""
    a, b = _read(ours), _read(theirs)
    found = [f"only ours: {name}" for name in sorted(a.keys() - b.keys())]
    found += [f"only theirs: {name} = {_shown(b[name])}" for name in sorted(b.keys() - a.keys())]
    for name in sorted(a.keys() & b.keys()):
        if not _equal(a[name], b[name]):
            found.append(f"{name}: ours {_shown(a[name])}, theirs {_shown(b[name])}")
    return found


def _read(path: Path) -> dict[str, Any]:
    reader = gguf.GGUFReader(path)
    keys = {
        name: ([kind.name for kind in field.types], field.contents())
        for name, field in reader.fields.items()
        if not name.startswith(_SAID_BY_US) or name == "general.architecture"
    }
    return keys | {f"tensor {tensor.name}": (tensor.tensor_type.name, tensor.data) for tensor in reader.tensors}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a[1], np.ndarray):
        return a[0] == b[0] and a[1].shape == b[1].shape and np.allclose(a[1], b[1], rtol=1e-6, atol=0)
    return a == b


def _shown(value: Any) -> str:
    kind, content = value
    return f"{kind} {content.shape}" if isinstance(content, np.ndarray) else f"{content} ({'/'.join(kind)})"
