"""The two parts of a readout, compiled and by PyTorch: which is faster on this processor?

    python -m benchmarks.parts

Shapes are those of the bundled models. The product is in billions of operations (multiplications
and additions) per second, the statistics in milliseconds per row; medians, in turn.
"""

import statistics
from collections.abc import Callable, Mapping

import torch
from rich.console import Console

from benchmarks import inside
from benchmarks.clock import seconds_of
from benchmarks.tables import Table

_SHAPES = {"smollm2-135m": (49_152, 576), "gemma-3-270m": (262_144, 640)}
_ROWS = (1, 4, 8, 16, 32, 64)
_ROUNDS = 5


def main() -> None:
    """Measure both parts and print a table of each."""
    products, readings = [], []
    for name, (vocabulary, width) in _SHAPES.items():
        weight = torch.randn(vocabulary, width)
        logits = torch.empty(max(_ROWS), vocabulary)
        for n_rows in _ROWS:
            rows, out = torch.randn(n_rows, width), logits[:n_rows]
            seconds = _in_turn({key: _bound(run, rows, weight, out) for key, run in inside.PRODUCTS.items()})
            speeds = [2e-9 * n_rows * vocabulary * width / each for each in seconds]
            products.append([name, str(n_rows), *(f"{speed:.0f}" for speed in speeds)])
        seconds = _in_turn({key: _bound(run, logits) for key, run in inside.STATISTICS.items()})
        readings.append([name, str(len(logits)), *(f"{1e3 * each / len(logits):.2f}" for each in seconds)])
    for title, ways, rows in (
        ("Product, billions of operations a second", inside.PRODUCTS, products),
        ("Statistics, ms a row", inside.STATISTICS, readings),
    ):
        Console().print(Table(title, ["shapes of", "rows", *ways], rows).as_rich())


def _bound(run: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: run(*arguments)


def _in_turn(work: Mapping[str, Callable[[], object]]) -> list[float]:
    """Return the median seconds of each, the first round left out."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(_ROUNDS + 1):
        for name, run in work.items():
            times[name].append(seconds_of(run))
    return [statistics.median(each[1:]) for each in times.values()]


if __name__ == "__main__":
    main()
