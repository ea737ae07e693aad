"""What was checked of a trace, and how well it agreed: in sentences for a view, in one line for a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass

from layerwise.lens_spec import ends_at_output
from layerwise.text import one_line
from layerwise.tracing.trace import Checks, Trace
from layerwise.types import ModelInfo


@dataclass(frozen=True)
class _Fact:
    """One thing that is known of the checks, in both forms, so that neither says what the other does not know of."""

    sentence: str
    in_line: str = ""
    """How the line goes on with it; empty where the line is silent: it says what was compared, and not what was not."""


def check_sentences(checks: Checks | None, model: ModelInfo, lens: str) -> list[str]:
    """Return what was checked, what was not, and how well it agreed; `checks` is None where that was not stored."""
    return [fact.sentence for fact in _facts(checks, model, lens)]


def check_line(trace: Trace) -> str:
    """Return what was checked, and how well it agreed, as one line without a full stop."""
    return "".join(fact.in_line for fact in _facts(trace.checks, trace.model, trace.lens))


def _facts(checks: Checks | None, model: ModelInfo, lens: str) -> Iterator[_Fact]:
    ran = f"Weights ran in {model.dtype} on {model.device}."
    if checks is None:
        yield _Fact(f"What was checked of this trace is not stored with it. {ran}")
    else:
        yield _identity(checks)
        yield _Fact(ran, f"; {model.dtype} on {model.device}")
        yield from _device(checks, model)
        yield from _drift(checks, model)
    if not ends_at_output(lens):
        yield _Fact(
            f"This is the {lens} lens: its last layer is not the model's output.",
            f". The {lens} lens's last layer is not the output",
        )


def _identity(checks: Checks) -> _Fact:
    own = checks.output_from == "own forward"
    quoted = "this prompt" if own else f"“{one_line(checks.covered_by, limit=60)}”"
    agrees = f"the model's own output to {checks.identity_error:.1e} in log-probability"
    limit = f"(limit {checks.identity_limit:.1e})"
    return _Fact(
        f"At the last layer the logit lens agrees with {agrees}, checked on {quoted} {limit}.",
        f"checked on {'this' if own else 'an earlier'} prompt: logit lens at the last layer = {agrees} {limit}",
    )


def _device(checks: Checks, model: ModelInfo) -> Iterator[_Fact]:
    if checks.device_error is not None:
        yield _Fact(
            f"The same prompt on the CPU in float32 differs by {checks.device_error:.1e}.",
            f"; against the CPU {checks.device_error:.1e}",
        )
    elif model.device != "cpu":
        yield _Fact(f"Results on {model.device} were not compared with the CPU's.")


def _drift(checks: Checks, model: ModelInfo) -> Iterator[_Fact]:
    if checks.drift_variation is not None:
        against = "Against float32 on the first prompt,"
        most = f"by more than {checks.drift_variation:.2g} in all"
        entropy = f"its entropy by {checks.drift_entropy_bits:.2g} bits"
        tops = f"the likeliest token differs at {checks.drift_tops} of {model.n_layers + 1} layers"
        yield _Fact(
            f"{against} {model.dtype} changes no layer's probabilities {most} and {entropy}; {tops}.",
            f". {against} no layer's probabilities are off {most}, {entropy}, and {tops}",
        )
    elif model.dtype != "float32":
        yield _Fact(f"What {model.dtype} changes against float32 was not measured.")
