"""The runs of one folder, opened by name, and nothing outside it."""

from pathlib import Path
from typing import Any

from layerwise.errors import StoreError
from layerwise.store.run import Run, open_run


class RunFolder:
    """A folder whose subfolders may be opened where they are runs."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve()

    def listing(self) -> list[dict[str, Any]]:
        """Return each run's name and study, by name; those that cannot be opened with the reason."""
        return [self._entry(name) for name in self._names()]

    def open(self, name: str) -> Run:
        """Return the run of that name.

        Raises:
            StoreError: there is none in the folder, a part of it is a link that leads out, or it cannot be read.
        """
        if name not in self._names():
            raise StoreError("There is no run of this name in the folder that this server was started with.")
        run = self.path / name
        for part in (run, run / "manifest.json", *(run / "shards").glob("*"), run / "shards"):
            if not part.resolve().is_relative_to(self.path):
                raise StoreError("A part of this run is a link that leads out of the folder, so it is not opened.")
        return open_run(run)

    def _names(self) -> list[str]:
        """Return the names of subfolders with a manifest: whatever else is asked for is not among them."""
        return sorted(manifest.parent.name for manifest in self.path.glob("*/manifest.json"))

    def _entry(self, name: str) -> dict[str, Any]:
        try:
            run = self.open(name)
        except StoreError as error:
            return {"name": name, "error": str(error)}
        return {"name": name, "study": run.name, "models": list(run.models), "updated": run.manifest["updated"]}
