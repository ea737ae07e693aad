"""Python, the packages that layerwise needs, and those it can do without."""

import importlib
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from layerwise.models.health.finding import Finding
from layerwise.text import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_SHOWN = ("torch", "transformers", "transformer-lens")
"""Always listed; others only where something is wrong with them."""


def versions() -> Iterator[Finding]:
    """Yield the versions in use, and each needed package that is missing or outside the range that works."""
    from packaging.requirements import Requirement

    yield Finding("versions", "python", "ok", f"{platform.python_version()} ({one_line(sys.executable)})")
    yield Finding("versions", "layerwise", "ok", metadata.version("layerwise"))
    for text in metadata.requires("layerwise") or ():
        needed = Requirement(text)
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        version = installed_version(needed.name)
        if version is None and needed.name == "numba":  # PyTorch does the same; see `_compiled`
            continue
        if version is None or not needed.specifier.contains(version, prereleases=True):
            here = "not installed" if version is None else f"{version}, outside {needed.specifier}"
            advice = f"pip install '{needed.name}{needed.specifier}'"
            yield Finding("versions", needed.name, "problem", here, advice)
        elif needed.name in _SHOWN:
            yield Finding("versions", needed.name, "ok", version)
    yield _compiled()


def extras() -> Iterator[Finding]:
    """Yield layerwise's extras, and what of each is not installed."""
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in metadata.requires("layerwise") or ()]
    for extra in metadata.metadata("layerwise").get_all("Provides-Extra") or ():
        own = [r for r in needed if r.marker and not r.marker.evaluate({"extra": ""}) and _is_of(r, extra)]
        missing = [requirement.name for requirement in own if installed_version(requirement.name) is None]
        if missing:
            found, advice = f"without {', '.join(missing)}", f"pip install 'layerwise[{extra}]', if you need it."
            yield Finding("extras", extra, "note", found, advice)
        else:
            yield Finding("extras", extra, "ok", "installed")


def _is_of(requirement: "Requirement", extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _compiled() -> Finding:
    """Return whether the readout is compiled, and why not."""
    from layerwise import compiled

    subject = "compiled readout"
    if not compiled.available():
        advice = "pip install numba: on CPUs it makes traces faster, and changes no result."
        if sys.version_info >= (3, 15):
            advice = "numba comes for Python up to 3.14. Results are the same without it."
        return Finding("versions", subject, "note", "off: numba is not installed; PyTorch does the same", advice)
    version = installed_version("numba")
    try:
        importlib.import_module("layerwise.models.output_head.compiled_product")
    except Exception as error:  # numba checks numpy's version, llvmlite and the processor, each in its own way
        found = f"numba {version} cannot be used: {type(error).__name__}: {one_line(str(error))}"
        return Finding("versions", subject, "problem", found, "pip install -U numba, or uninstall it to use PyTorch.")
    return Finding("versions", subject, "ok", f"on: numba {version}")


def installed_version(package: str) -> str | None:
    """Return a package's version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
