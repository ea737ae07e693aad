"""What edits are asked for: data that names no tensors, as it stands in recipes, traces and on the command line."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from typing import ClassVar

from layerwise.errors import EditError, PromptError
from layerwise.sites import KINDS, Site


@dataclass(frozen=True)
class EditSpec:
    """An edit of one site, or of all blocks' sites of a kind.

    Raises:
        EditError: a value is none that the edit has.
    """

    operation: ClassVar[str]
    """What the edit is called where it is written."""

    site: str
    """A site's name (``blocks.3.attn.hook_z[5]``), ``layer 12`` for the residual stream there, or a kind alone
    (``mlp_out``) for every block that has it."""
    positions: str = "all"
    """``all``, ``last``, indices and slices as in ``0,3:5,-1``; of patterns, those of the queries."""
    placebo: int | None = field(default=None, kw_only=True)
    """Of an edit's placebo the seed: the values are moved as far as the edit would move them, in a random direction."""

    def __post_init__(self) -> None:
        if self.site not in KINDS:
            _expect_site(self.site)
        kind = self.site if self.site in KINDS else site_of(self.site).kind
        if self.placebo is not None and kind == "pattern":
            raise EditError(f"{self.operation} {self.site} has no placebo: weights moved at random are no attention.")

    def __str__(self) -> str:
        """Return what `written.parse` reads."""
        _, _, placebo, *own = dataclasses.fields(self)
        more = [
            f"{field.name}={shlex.quote(str(value))}"
            for field in (*own, placebo)
            if (given := getattr(self, field.name)) != field.default
            for value in (given if isinstance(given, tuple) else [given])
        ]
        at = "" if self.positions == "all" else f"@{self.positions}"
        return " ".join([self.operation, shlex.quote(self.site + at), *more])


@dataclass(frozen=True)
class Zero(EditSpec):
    """Zeros in place of the values (zero ablation)."""

    operation = "zero"


@dataclass(frozen=True)
class Scale(EditSpec):
    """The values times a factor."""

    operation = "scale"

    factor: float = 2.0


@dataclass(frozen=True)
class Patch(EditSpec):
    """The values that another prompt has, or another site (activation patching)."""

    operation = "patch"

    source: str = ""
    """The other prompt; the same one if only `of` is given."""
    at: str = ""
    """Its positions, as many as are changed, or one for all of them; the same ones if not given."""
    of: str = ""
    """The site whose values are taken; the same one if not given."""
    lens: str = ""
    """A fitted lens whose translation of the values is put there: the model goes on with what the lens reads."""
    sum: str = ""
    """Of the lens's numbers the beginning of the SHA-256. Where it is given, no other lens is taken for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source and not self.of:
            raise EditError(f"A patch of {self.site} takes its values from another prompt: add source='…'.")
        if self.of:
            _expect_site(self.of)
            if self.site in KINDS:
                raise EditError(f"A patch of every {self.site} has no one site to take its values of, {self.of}.")


@dataclass(frozen=True)
class Mean(EditSpec):
    """One vector for all positions: the mean over positions of other prompts (mean ablation)."""

    operation = "mean"

    over: tuple[str, ...] = ()
    """The prompts."""
    at: str = "1:"
    """Their positions; the first, on which much attention rests for no reason of its own, is left out by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect_prompts(self)


@dataclass(frozen=True)
class Resample(EditSpec):
    """For each position the values of one that is drawn from other prompts (resample ablation)."""

    operation = "resample"

    over: tuple[str, ...] = ()
    """The prompts."""
    at: str = "1:"
    """Their positions that are drawn from."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect_prompts(self)


@dataclass(frozen=True)
class Noise(EditSpec):
    """The values with normally distributed noise added (Meng et al. 2022)."""

    operation = "noise"

    deviation: float = 1.0
    """Standard deviation of the noise, in the values' own unit."""
    seed: int = 0


@dataclass(frozen=True)
class Cut(EditSpec):
    """Queries that do not see some keys: attention knockout (Geva et al. 2023)."""

    operation = "cut"

    keys: str = "0"
    """Positions that are not seen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.site if self.site in KINDS else site_of(self.site).kind) != "pattern":
            raise EditError(f"What is cut are edges of attention: expected a pattern as the site, got {self.site}.")


def site_of(text: str) -> Site:
    """Return the site that a name, or ``layer 12``, stands for. Raises PromptError."""
    if text.startswith("layer"):
        number = text.removeprefix("layer").strip()
        if number.isdigit():
            return Site.at_layer(int(number))
    return Site.parse(text)


def _expect_site(name: str) -> None:
    try:
        site_of(name)
    except PromptError as error:
        raise EditError(str(error)) from error


def _expect_prompts(spec: "Mean | Resample") -> None:
    if not spec.over or not all(spec.over):
        raise EditError(f"{spec.operation} {spec.site} is over other prompts: add over='…', once for each.")
