"""Files written whole or not at all, and their checksums."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a scratch path beside `target`; move it there when the block ends without an error.

    The scratch path does not exist yet: the block makes a file or a folder of it. Readers see
    the old `target` or the new one, never a part. A folder that already stands at `target` is
    replaced by one rename after another, so that a crash leaves at least one of the two whole.
    A link at `target` stays, and what it points to is replaced.

    Raises:
        FileExistsError: a device, pipe or socket is at `target`; a file in its place would break it.
    """
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise FileExistsError(errno.EEXIST, "it is not a regular file", str(target))
    target = target.resolve() if target.is_symlink() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch_folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    scratch = scratch_folder / target.name
    try:
        yield scratch
        _flush(scratch)
        replaced = scratch_folder / "replaced"
        if scratch.is_dir() and target.exists():
            target.rename(replaced)
        try:
            scratch.replace(target)
        except BaseException:
            if replaced.exists():
                replaced.rename(target)
            raise
    finally:
        shutil.rmtree(scratch_folder, ignore_errors=True)


def write_text_whole(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, whole or not at all."""
    with written_whole(target) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    """Force a file's, or every file of a folder's, bytes to disk before it is renamed."""
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
