"""The methods by which lenses are fitted: one table, by the names of `lens_spec.METHODS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from layerwise.capture.backward import Rules, no_rules
from layerwise.errors import LensError
from layerwise.fitting import tuned
from layerwise.fitting.accumulating import SecondsPerWindow
from layerwise.fitting.estimator import Estimator
from layerwise.fitting.jacobian import SKIPPED, JacobianSums
from layerwise.fitting.plan import FitPlan
from layerwise.fitting.ridge import FIRST, PENALTY, RidgeEstimator
from layerwise.fitting.sums import room_for_fit
from layerwise.models.anatomy.backward_rules import r_rules
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.residency.residency import Resident
from layerwise.text import one_line

_STATES_BYTES = 256 << 20
"""States of one batch that ridge holds at a time."""
_WINDOWS_AT_ONCE = 16
"""With more, products are hardly faster, and progress is told less often."""


@dataclass(frozen=True)
class FitMethod:
    """How one kind of lens is fitted, and on how much text by default."""

    texts: int
    until: float | None
    make: Callable[[LoadedModel, FitPlan], Estimator] | None
    """Makes what is summed over windows; None for descent, which goes over the text more than once (`tuned`)."""
    batch: Callable[[LoadedModel, FitPlan], int]
    """How many windows to take at once."""
    batch_bytes: Callable[[LoadedModel, FitPlan, int], int]
    """Memory that so many windows take while they are worked on."""
    options: Callable[[LoadedModel], Mapping[str, Any]]
    """Its own settings, with what they are by default for a model."""
    seconds_per_window: Callable[[LoadedModel, FitPlan], SecondsPerWindow] | None = None
    """Foretells how long windows take, where a batch takes too long to be measured."""


def _make_ridge(model: LoadedModel, plan: FitPlan) -> Estimator:
    if not isinstance(first := plan.options["first"], int) or first >= plan.length:
        raise LensError(
            f"Windows of {plan.length} tokens have no position from {first} on. Choose a greater "
            "--length, or a smaller first."
        )
    return RidgeEstimator(model, plan.layers, **plan.options)


def _bytes_of_states(model: LoadedModel, plan: FitPlan, windows: int) -> int:
    width = model.output_head.weight.shape[1] * model.dtype.itemsize
    return windows * plan.length * (model.n_layers + 1) * width


def _windows_of_states(model: LoadedModel, plan: FitPlan) -> int:
    """Return of how many windows states are held: of a streamed model as many as may be, for each batch reads it."""
    streamed = not isinstance(model.residency, Resident)
    room = room_for_fit(model) or _STATES_BYTES
    most = max(1, room // _bytes_of_states(model, plan, 1))
    return min(most, plan.texts) if streamed else min(most, _WINDOWS_AT_ONCE)


def _jacobian_maker(rules: Rules) -> Callable[[LoadedModel, FitPlan], JacobianSums]:
    return lambda model, plan: JacobianSums(model, plan.layers, length=plan.length, rules=rules, **plan.options)


def _jacobian_method(rules: Rules) -> FitMethod:
    make = _jacobian_maker(rules)
    return FitMethod(
        texts=100,
        until=0.9,
        make=make,
        seconds_per_window=lambda model, plan: make(model, plan).seconds_per_text,
        batch=lambda model, plan: 1,  # no more is lost where a fit is interrupted
        batch_bytes=lambda model, plan, windows: make(model, plan).bytes_of_a_text,
        options=lambda model: {"skipped": SKIPPED, "precision": "highest"},
    )


FIT_METHODS = {
    "ridge": FitMethod(
        texts=160,
        until=None,
        make=_make_ridge,
        batch=_windows_of_states,
        batch_bytes=_bytes_of_states,
        options=lambda model: {"penalty": PENALTY, "first": FIRST},
    ),
    "tuned": FitMethod(
        texts=160,
        until=None,
        make=None,
        batch=_windows_of_states,
        batch_bytes=_bytes_of_states,
        options=lambda model: tuned.default_options(model.output_head.weight.shape[1]),
    ),
    "jacobian": _jacobian_method(no_rules),
    "r": _jacobian_method(r_rules),
}


def fit_method(name: str) -> FitMethod:
    """Return how a method fits.

    Raises:
        LensError: there is no such method.
    """
    if name not in FIT_METHODS:
        raise LensError(f"No lens is fitted by {one_line(repr(name), 60)}; expected one of {', '.join(FIT_METHODS)}.")
    return FIT_METHODS[name]
