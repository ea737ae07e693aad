"""Runs as they are shown to others: models on this machine go by their own names, not by where they are.

A report or a page may be mailed, and where a model's files are tells the user's name and folders. A run's own files
keep it, as where its numbers come from.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from layerwise.store.run import Run
from layerwise.text import without_paths
from layerwise.types import ModelInfo, shown_name

if TYPE_CHECKING:
    import pyarrow as pa


def with_shown_names(found: "pa.Table", names: dict[str, str]) -> "pa.Table":
    """Return rows of a run with the names that its models are shown by."""
    import pyarrow as pa

    change = {"model": lambda name: names.get(name, name), "location": shown_name, "refused": without_paths}
    for place, column in enumerate(found.column_names):
        if column in change:
            encoded = found[column].combine_chunks().dictionary_encode()
            texts = [text and change[column](text) for text in encoded.dictionary.to_pylist()]
            found = found.set_column(place, column, pa.array(texts, pa.string()).take(encoded.indices))
    return found


def shown_run(run: Run) -> Run:
    """Return a run with the names that its models are shown by, in its manifest and its tables."""
    if "shown_names" in run.manifest:
        return run
    manifest = run.manifest
    named = [*manifest["study"]["models"], *manifest["models"], *manifest["failures"]]
    named += [shard["model"] for shard in manifest["shards"]]
    names = shown_names(named)
    infos = {names[name]: info | _shown(ModelInfo(**info), names[name]) for name, info in manifest["models"].items()}
    return Run(
        run.path,
        manifest
        | {
            "shown_names": names,
            "study": manifest["study"] | {"models": [names[name] for name in manifest["study"]["models"]]},
            "models": infos,
            "failures": {names[name]: _without_place(reason, name) for name, reason in manifest["failures"].items()},
            "shards": [shard | {"model": names[shard["model"]]} for shard in manifest["shards"]],
        },
    )


def _shown(info: ModelInfo, name: str) -> dict[str, Any]:
    return {"name": name, "location": shown_name(info.location)}


def _without_place(reason: str, name: str) -> str:
    """Return why a model could not be read without the folders that it is in, whatever characters they have."""
    path = name.removeprefix("random:")
    if shown_name(path) == path:
        return without_paths(reason)
    parts = [part for part in re.split(r"[\\/]|^[A-Za-z]:", path) if part not in ("", ".", "..", "~")]
    ends = r"[\\/]".join(map(re.escape, parts))  # of the path as it was given, and made absolute
    places = re.compile(rf"(?:(?<![\w:/.~-])(?:~|\.\.?|[A-Za-z]:)?[\\/](?:[^\n]*?[\\/])??)?{ends}")
    return without_paths(places.sub(lambda _: shown_name(path), reason))


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return what each name is shown as: all different, of paths with as few folders as that takes."""
    all_names = list(dict.fromkeys(names))
    shown = {name: name for name in all_names if shown_name(name) == name}
    for name in (each for each in all_names if each not in shown):
        deepest = len(re.split(r"[\\/]", name))
        forms = (shown_name(name, parts) for parts in range(1, deepest + 1))
        taken = {*shown.values(), *all_names}
        shown[name] = next((form for form in forms if form not in taken), name)
    return shown
