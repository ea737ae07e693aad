"""The versions that numbers depend on."""

from functools import cache
from importlib.metadata import version

from layerwise import compiled

_version = cache(version)
"""Looks into the installed packages' files, which every trace would otherwise do again."""


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on, were it in the last digit."""
    names = ["layerwise", "torch", "transformers", *(["numba"] if compiled.available() else [])]
    return {name: _version(name) for name in names}
