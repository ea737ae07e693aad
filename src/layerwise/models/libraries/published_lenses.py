"""TransformerLens's list of Jacobian lenses that were published on the hub."""

import functools
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

_FILE = Path("tools/analysis/jacobian_lens_registry.json")


@dataclass(frozen=True)
class PublishedLens:
    """A file on the hub."""

    name: str
    """The list's short name."""
    repo_id: str
    filename: str
    revision: str
    """The commit that the list pins."""

    @property
    def address(self) -> str:
        return f"https://huggingface.co/{self.repo_id}/blob/{self.revision}/{self.filename}"


def published_jacobian_lens(name: str) -> PublishedLens | None:
    """Return the Jacobian lens that was published under a short name or for a hub id; None if none was."""
    return _published().get(name.casefold())


def published_names() -> list[str]:
    """Return the short names of all published Jacobian lenses."""
    return sorted({each.name for each in _published().values()})


@functools.cache
def _published() -> dict[str, PublishedLens]:
    """Return the list by names and models' ids, without importing TransformerLens, which takes seconds."""
    found = importlib.util.find_spec("transformer_lens")
    roots = found.submodule_search_locations if found else None
    files = [Path(root) / _FILE for root in roots or ()]
    listed = next((json.loads(file.read_text("utf-8")) for file in files if file.is_file()), {})
    published: dict[str, PublishedLens] = {}
    for name, entry in listed.items():
        if isinstance(entry, dict):
            lens = PublishedLens(name, entry["repo_id"], entry["filename"], listed["revision"])
            published |= {each.casefold(): lens for each in (name, *entry.get("aliases", ()))}
    return published
