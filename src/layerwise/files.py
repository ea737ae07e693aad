"""Files written whole or not at all, and their checksums."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from layerwise.interrupts import interrupts_waiting


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a scratch path beside `target`; move it there when the block ends without an error.

    The scratch path does not exist yet: the block makes a file or a folder of it. Readers see
    the old `target` or the new one, never a part. A folder that already stands at `target` is
    replaced by one rename after another, so that a crash leaves at least one of the two whole.
    A link at `target` stays, and what it points to is replaced. An interrupt (Ctrl-C) during the
    renames is raised after them.

    Raises:
        FileExistsError: a device, pipe or socket is at `target`; a file in its place would break it.
    """
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise FileExistsError(errno.EEXIST, "it is not a regular file", str(target))
    target = target.resolve() if target.is_symlink() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch_folder = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    scratch = scratch_folder / target.name
    try:
        scratch_folder.mkdir(mode=0o700)
        yield scratch
        _flush(scratch)
        with interrupts_waiting():
            _put_in_place(scratch, target)
            shutil.rmtree(scratch_folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(scratch_folder, ignore_errors=True)
        raise


def _put_in_place(scratch: Path, target: Path) -> None:
    """Move `scratch` to `target`; where that fails, what was at `target` is there again."""
    replaced = scratch.with_name(secrets.token_hex(8))
    if scratch.is_dir() and target.exists():
        target.rename(replaced)
    try:
        scratch.replace(target)
    except BaseException:
        if replaced.exists():
            replaced.rename(target)
        raise


@contextlib.contextmanager
def held_alone(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time into the block, of those that hold the same folder.

    The system lets go of the folder when the process ends, however that happens, so a killed one blocks nobody, and
    no file is left. `wait` is called before each further try: it sleeps, or raises if it will not wait. Where a
    folder cannot be held (Windows, some network disks), every process is let in.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return

    def held() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # this disk knows no such locks
            return True
        return True

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        while not held():
            wait()
        yield
    finally:
        os.close(descriptor)


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
