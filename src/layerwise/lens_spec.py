"""What a lens is known by, apart from how it reads: what files, tables and pages say of it. Needs no PyTorch."""

from collections.abc import Collection
from dataclasses import dataclass

from layerwise.errors import PromptError
from layerwise.text import one_line


@dataclass(frozen=True)
class LensSpec:
    """A lens's description."""

    name: str
    """What users call it, and what stands in traces and tables."""
    reads: str
    """What it makes of a state, in few words, for help and documentation."""
    ends_at_output: bool
    """Whether what it reads at layer n is the model's own output."""
    sum: str | None = None
    """SHA-256 of the numbers that were fitted for it; None where nothing was."""
    caveat: str = ""
    """What its numbers do not show, in words that go on a sentence: they stand beside them."""
    notes: tuple[str, ...] = ()
    """What has to be said beside what it reads, in sentences: they stand with the notes of every trace."""

    @property
    def key(self) -> str | dict[str, str]:
        """All that determines its numbers: a name alone does not where a lens of that name can be fitted again."""
        return self.name if self.sum is None else {"name": self.name, "sum": self.sum}


LOGIT = LensSpec("logit", "final norm and output head", ends_at_output=True)
RAW = LensSpec("raw", "output head alone", ends_at_output=False)

_FITTED_TO_OUTPUT = (
    "it is fitted to come close to the output: where it reads the answer, the layer predicts the output, which does "
    "not mean that the model uses the answer there."
)
_NOT_THE_OUTPUT = (
    "it is made to show what may be said now or later, and is not fitted to the output: its probabilities are not "
    "those of the next token, and it can be far from the output where it shows most."
)
RIDGE = LensSpec(
    "ridge", "what is linearly there: least squares to the last layer", ends_at_output=True, caveat=_FITTED_TO_OUTPUT
)
TUNED = LensSpec(
    "tuned", "what best predicts the output: an affine map fitted to it", ends_at_output=True, caveat=_FITTED_TO_OUTPUT
)
JACOBIAN = LensSpec(
    "jacobian", "what the state disposes the model to say, now and later", ends_at_output=True, caveat=_NOT_THE_OUTPUT
)
R = LensSpec(
    "r",
    "the Jacobian lens with changed backward rules, for large displacements",
    ends_at_output=True,
    caveat=_NOT_THE_OUTPUT,
)

METHODS = {spec.name: spec for spec in (RIDGE, TUNED, JACOBIAN, R)}
"""The kinds of lenses that are fitted, by name. A fitted lens is asked for by its method, or ``METHOD:PATH``."""

SPECS = {spec.name: spec for spec in (LOGIT, RAW)}
"""The lenses that need no fitting, by name. How each reads is in `readout.lenses`."""


def spec_of(name: str) -> LensSpec:
    """Return the description of the lens with this name.

    Raises:
        PromptError: there is none.
    """
    if name not in SPECS:
        raise PromptError(f"Unknown lens {one_line(repr(name), 60)}; expected one of {', '.join(SPECS)}.")
    return SPECS[name]


def method_spec(name: str) -> LensSpec:
    """Return the description of what a method fits.

    Raises:
        PromptError: there is no such method.
    """
    if name not in METHODS:
        raise PromptError(f"Unknown kind of lens {one_line(repr(name), 60)}; expected one of {', '.join(METHODS)}.")
    return METHODS[name]


def ends_at_output(name: str) -> bool:
    """Return whether layer n of what a lens of this name has read is known to be the model's own output."""
    spec = SPECS.get(name) or METHODS.get(name.partition(":")[0])
    return spec is not None and spec.ends_at_output


def caveat_of(name: str) -> str | None:
    """Return what stands beside the numbers of a lens of this name; None where it reads the model's own head alone."""
    spec = METHODS.get(name.partition(":")[0])
    return f"The {name} lens: {spec.caveat}" if spec else None


def main_lens(names: Collection[str]) -> str:
    """Return which of a run's lenses tells the story: the logit lens, or else the first."""
    return LOGIT.name if LOGIT.name in names else next(iter(names))


def fitted_beside(names: Collection[str]) -> list[str]:
    """Return the fitted ones of a run's lenses whose numbers stand beside the main lens's, each with its caveat."""
    return [name for name in names if caveat_of(name) and name != main_lens(names)]
