"""How this machine and installation stand, as data: what `layerwise doctor` prints."""

import time
from collections.abc import Callable, Iterable, Iterator

from layerwise.errors import LayerwiseError
from layerwise.models.health.finding import Finding, State, Tried
from layerwise.models.health.machine import devices, processor_and_memory
from layerwise.models.health.model_files import bundled_models, caches, hub, ready_models
from layerwise.models.health.packages import extras, versions
from layerwise.text import harmless, one_line
from layerwise.types import Progress

__all__ = ["Finding", "State", "Tried", "TryOut", "examine"]

TryOut = Callable[[str], Tried]
"""Loads a bundled model by its name, traces one prompt, and says how that went."""

_CHECKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "machine": processor_and_memory,
    "devices": devices,
    "versions": versions,
    "hub": hub,
    "caches": caches,
    "models": bundled_models,
    "extras": extras,
}


def examine(try_out: TryOut | None = None, progress: Progress | None = None) -> list[Finding]:
    """Return what was found, topic by topic; nothing is changed or downloaded.

    Whatever is broken becomes a finding: no exception leaves a check, and the others still run.

    Args:
        try_out: for the self-test; None leaves it out.
        progress: told which topic is being looked at.
    """
    checks = dict(_CHECKS)
    if try_out is not None:
        checks["self-test"] = lambda: [self_test(try_out)]
    found: list[Finding] = []
    for topic, check in checks.items():
        if progress:
            progress(f"looking at: {topic}", 0, None)
        found.extend(_guarded(topic, check))
    return found


def self_test(try_out: TryOut) -> Finding:
    """Return how a trace with the quickest bundled model that is ready went."""
    ready = ready_models()
    if not ready:
        return Finding(
            "self-test", "trace", "note", "skipped: no bundled model is ready", "`layerwise models pull` makes them so."
        )
    began = time.perf_counter()
    try:
        tried = try_out(ready[0])
    except LayerwiseError as error:
        advice = f'`layerwise trace "Hello" --model {ready[0]} --debug` shows where; '
        advice += f"`layerwise models show {ready[0]}` loads the model alone."
        return Finding("self-test", "trace", "problem", f"{ready[0]}: {harmless(str(error))}", advice)
    seconds = time.perf_counter() - began
    return Finding(
        "self-test",
        "trace",
        "ok",
        f"{ready[0]} in {seconds:.1f} s, of which {tried.trace_seconds:.2f} s for the trace; identity error "
        f"{tried.identity_error:.1e} (limit {tried.identity_limit:.1e}), {tried.runs_as}",
    )


def _guarded(topic: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # a broken driver or package raises anything, and the other checks still say something
        yield Finding(
            topic,
            "this check",
            "problem",
            f"failed with {type(error).__name__}: {one_line(str(error))}",
            "If a package or driver cannot be loaded, install it again; otherwise please report this.",
        )
