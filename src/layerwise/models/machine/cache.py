"""The folder in which layerwise keeps models, and the checksums it remembers."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layerwise.errors import ModelError
from layerwise.files import sha256_of, write_text_whole

_FOLDER_TROUBLE = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EPERM",
        "EROFS",
        "ENOSPC",
        "EDQUOT",
        "EFBIG",
        "ENOTDIR",
        "EEXIST",
        "ENAMETOOLONG",
        "EIO",
    )
    if hasattr(errno, name)
}


def cache_folder() -> Path:
    """Return ``$LAYERWISE_CACHE``, else ``$XDG_CACHE_HOME/layerwise``, else ``~/.cache/layerwise``.

    The folder need not exist yet.
    """
    if own := os.environ.get("LAYERWISE_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "layerwise"


@contextlib.contextmanager
def writing_to_cache() -> Iterator[Path]:
    """Yield the cache folder, made if need be, and say so clearly where it cannot be written.

    Raises:
        ModelError: The folder is full, read-only or not a folder; names it and the system's reason.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        if error.errno not in _FOLDER_TROUBLE:
            raise
        raise ModelError(
            f"The cache folder {folder} cannot be written: {error.strerror}. Prepared models are kept there. "
            "Make room or give permission, or set LAYERWISE_CACHE to another folder."
        ) from error


def remembered_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, computed once for each (real path, size, time of last change).

    What is remembered is in ``sums.json`` in the cache folder. If that cannot be read or written,
    the sum is computed again, so the answer never depends on it.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if known := known_sha256(path):
        return known
    real = path.resolve(strict=True)
    before = _identity(real)
    sha256 = sha256_of(real)
    if _identity(real) == before:
        remember_sha256(real, sha256)
    return sha256


def remember_sha256(path: Path, sha256: str) -> None:
    """Enter a file's SHA-256, computed just now, into what is remembered, if that can be written."""
    real = path.resolve(strict=True)
    memory = _remembered() | {str(real): {**_identity(real), "sha256": sha256}}
    kept = {name: entry for name, entry in memory.items() if Path(name).exists()}
    with contextlib.suppress(OSError):
        write_text_whole(cache_folder() / "sums.json", json.dumps(kept, indent=1, sort_keys=True))


def known_sha256(path: Path) -> str | None:
    """Return a file's SHA-256 if it is remembered and the file has not changed since, else None.

    Raises:
        FileNotFoundError: There is no such file.
    """
    real = path.resolve(strict=True)
    known = _remembered().get(str(real))
    if not isinstance(known, dict) or {**known, "sha256": None} != {**_identity(real), "sha256": None}:
        return None
    return str(known["sha256"])


def _identity(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _remembered() -> dict[str, Any]:
    try:
        memory = json.loads((cache_folder() / "sums.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}
