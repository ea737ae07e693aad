"""How templates become Markdown: the environment and filters that all reports share."""

from pathlib import Path

import jinja2
import pandas as pd

from layerwise.lens_spec import caveat_of
from layerwise.measures.uncertainty import Estimate
from layerwise.report.escaping import code_span, in_table, plain, prose
from layerwise.text import counted, probability, visible

_TEMPLATES = Path(__file__).parent / "templates"

_NO_BREAK = "\u00a0"
"""A space at which no line ends."""


def environment() -> jinja2.Environment:
    """Return what renders the reports' templates."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    made.filters |= {
        "token": lambda text: code_span(visible(text)),
        "code": code_span,
        "plain": plain,
        "prose": prose,
        "in_table": in_table,
        "layer_of": layer_of,
        "p": probability,
        "e": lambda value: f"{value:.1e}",
        "thousands": lambda value: f"{int(value):,}",
        "estimate": interval,
        "percent": percent,
        "depth": depth,
        "counted": counted,
    }
    made.globals["caveat_of"] = caveat_of
    made.globals["is_missing"] = lambda value: value is None or bool(pd.isna(value))
    return made


def interval(found: Estimate | None, times: float = 1, digits: str | None = None, unit: str = "") -> str:
    """Return an estimate with its interval, on one line: ``0.83 [0.78, 0.89]``.

    Where `digits` is no format, the larger the numbers are, the fewer decimals they have.
    """
    if found is None:
        return "–"
    ends = [number * times for number in (found.value, found.low, found.high)]
    largest = max(map(abs, ends))
    digits = digits or (",.0f" if largest >= 100 else ".1f" if largest >= 10 else ".3f")
    value, low, high = (format(number, f"z{digits}") for number in ends)  # z: zero has no sign
    return f"{value}{unit} [{low}, {high}]".replace(" ", _NO_BREAK)


def percent(found: Estimate | None) -> str:
    """Return a share with its interval: ``83 % [78, 89]``."""
    return interval(found, 100, ".0f", " %")


def depth(found: Estimate | None) -> str:
    """Return a depth with its interval; one beyond 1 is never reached: ``0.97 [0.58, never]``."""
    if found is None:
        return "–"
    if found.low > 1:
        return "never"
    value, low, high = ("never" if each > 1 else f"{each:.2f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]".replace(" ", _NO_BREAK)


def layer_of(layer: int | None, n_layers: int) -> str:
    """Return a milestone as layer and depth."""
    return "never" if layer is None else f"{layer} ({layer / n_layers:.0%})"
