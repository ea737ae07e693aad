"""Changes: edits of a forward pass, ready to be made, each a function of the values at a site."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import EditError
from layerwise.sites import Site

_ROUNDING = 1e-6
"""Weights of attention, a softmax in float32, may sum to so much less than 1."""


@dataclass(frozen=True)
class Change:
    """What takes the place of a site's values at some positions (a `capture.edits.Edit`).

    Two changes are the same where site, positions and `what` are: `what` names all that the function goes by.
    """

    site: Site
    positions: tuple[int, ...] | None
    """Indices into the pass; of patterns those of the queries. None for all."""
    what: str
    how: Callable[[Tensor], Tensor] = field(compare=False, repr=False)
    """From the values at these positions, a copy, to what takes their place. The axis of positions is the first; of
    patterns, the one before the last."""

    def apply(self, values: Float[Tensor, "position ..."], first: int = 0) -> Float[Tensor, "position ..."]:
        """Return the values with those at the positions changed.

        Raises:
            EditError: there is no such position.
        """
        if self.positions is None:
            return self.how(values)
        axis = -2 if self.site.kind == "pattern" else 0
        at = torch.tensor(self.positions, device=values.device) - first
        if bool((at < 0).any() or (at >= values.shape[axis]).any()):
            there = f"{first} to {first + values.shape[axis] - 1}"
            raise EditError(f"{self.site} should change at positions {list(self.positions)}; there are {there}.")
        return values.index_copy(axis, at, self.how(values.index_select(axis, at)).to(values.dtype))


def zero(site: Site, positions: Sequence[int] | None = None) -> Change:
    """Return the edit that puts zeros in a site's place."""
    return _change(site, positions, "zero", torch.zeros_like)


def scale(site: Site, factor: float, positions: Sequence[int] | None = None) -> Change:
    """Return the edit that multiplies a site's values."""
    return _change(site, positions, f"times {factor!r}", lambda values: values * factor)


def put(site: Site, instead: Float[Tensor, "#position ..."], positions: Sequence[int] | None = None) -> Change:
    """Return the edit that puts values in a site's place: one for each position, or one for all of them.

    Raises:
        EditError: they are not finite. From the pass: their shape is another than the site's.
    """
    instead = _finite(site, instead)

    def how(values: Tensor) -> Tensor:
        if instead.shape[1:] != values.shape[1:] or len(instead) not in (1, len(values)):
            raise EditError(
                f"{site} has values of shape {list(values.shape)} at these positions, and what should take their place "
                f"has {list(instead.shape)}. They come from a pass with other positions, or from another model."
            )
        return instead.to(values).expand_as(values)

    return _change(site, positions, f"put {_sum(instead)}", how)


def add(
    site: Site,
    vector: Float[Tensor, "..."],
    positions: Sequence[int] | None = None,
    *,
    strength: float = 1.0,
    as_long: bool = False,
) -> Change:
    """Return the edit that adds a vector to a site's values, at every position the same.

    Args:
        site: where.
        vector: of the site's width.
        positions: at which; None for all.
        strength: how often it is added.
        as_long: make it as long as the values are, at each position, whatever its own length.

    Raises:
        EditError: it is not finite, or it should be made longer and has no length. From the pass: it has another width
            than the site.
    """
    vector = _finite(site, vector).float()
    if as_long and not bool(vector.any()):
        raise EditError(f"What should be added at {site} as long as the values there is zero: it has no direction.")

    def how(values: Tensor) -> Tensor:
        if vector.shape != values.shape[1:]:
            raise _wrong_width(site, vector, values)
        there = values.float()
        moved = vector.to(there)
        if as_long:
            moved = moved / moved.norm() * there.norm(dim=-1, keepdim=True)
        return (there + strength * moved).to(values.dtype)

    return _change(site, positions, f"add {strength!r} {as_long} {_sum(vector)}", how)


def noise(site: Site, deviation: float, seed: int, positions: Sequence[int]) -> Change:
    """Return the edit that adds normally distributed noise of some standard deviation: at each site another."""

    def how(values: Tensor) -> Tensor:
        added = torch.randn(values.shape, generator=_drawing(seed, site))
        return values + (deviation * added).to(values)

    return _change(site, positions, f"noise {deviation!r} {seed}", how)


def project_out(
    site: Site, directions: Float[Tensor, "direction d_model"], positions: Sequence[int] | None = None
) -> Change:
    """Return the edit that takes from a site's values all that lies in the space of some directions.

    Raises:
        EditError: they are not finite, or all zero. From the pass: they have another width than the site.
    """
    directions = _finite(site, directions)
    if directions.ndim != 2:
        raise EditError(f"{site} has several heads. Project out of one at a time, as in {site}[0].")
    _, sizes, basis = torch.linalg.svd(directions.double(), full_matrices=False)
    basis = basis[sizes > sizes.max() * max(directions.shape) * torch.finfo(torch.float32).eps]
    if not len(basis):
        raise EditError(f"Nothing can be projected out of {site}: the directions given are zero.")

    def how(values: Tensor) -> Tensor:
        if basis.shape[1:] != values.shape[1:]:
            raise _wrong_width(site, directions[0], values)
        inside = values.double() @ basis.T.to(values.device) @ basis.to(values.device)
        return (values.double() - inside).to(values.dtype)

    return _change(site, positions, f"project out {_sum(directions)}", how)


def exchange(
    site: Site,
    pair: Float[Tensor, "2 d_model"],
    positions: Sequence[int] | None = None,
    *,
    offsets: Float[Tensor, "2"] | None = None,
) -> Change:
    """Return the edit that exchanges two readings of a site's values, and changes as little else as can be.

    With h for the values, v for the vectors and c for the offsets, h' is the vector closest to h for which
    v_1 · h' + c_1 = v_2 · h + c_2, and the other way round.

    Raises:
        EditError: they are not finite, or point the same way. From the pass: they have another width than the site.
    """
    pair = _finite(site, pair).double()
    offset = pair.new_zeros(2) if offsets is None else _finite(site, offsets).to(pair)
    sizes = torch.linalg.svdvals(pair)
    if sizes[-1] <= sizes[0] * 1e-6:
        raise EditError(f"The two vectors whose products should be exchanged at {site} point the same way.")
    inverse = torch.linalg.pinv(pair)

    def how(values: Tensor) -> Tensor:
        if pair.shape[1:] != values.shape[1:]:
            raise _wrong_width(site, pair[0], values)
        readings = values.double() @ pair.T.to(values.device) + offset.to(values.device)
        return (values.double() + (readings.flip(-1) - readings) @ inverse.T.to(values.device)).to(values.dtype)

    return _change(site, positions, f"exchange {_sum(pair)} {_sum(offset)}", how)


def cut(site: Site, queries: Sequence[int] | None, keys: Sequence[int]) -> Change:
    """Return the edit of a pattern with which queries do not see some keys, and the rest so much the more.

    It is what a mask does (Geva et al. 2023, arXiv:2304.14767): weights before the softmax are as they were. Where all
    of a query's weight is cut, none is left.
    """
    seen = torch.tensor(sorted(set(keys)))

    def how(pattern: Tensor) -> Tensor:
        kept = pattern.index_fill(-1, seen.to(pattern.device), 0)
        # In float64: of a query that sees little else than what is cut, the rest is smaller than the sum's rounding.
        rest, whole = (weights.sum(-1, keepdim=True, dtype=torch.float64) for weights in (kept, pattern))
        # Some weight may go to no token (attention sinks of gpt-oss), and keeps its share; rounding is none.
        elsewhere = torch.where(1 - whole > _ROUNDING + 2 * torch.finfo(pattern.dtype).eps, 1 - whole, 0)
        return torch.where(rest > 0, kept / (rest + elsewhere), 0).to(pattern.dtype)

    return _change(site, queries, f"cut {seen.tolist()}", how)


def placebo(edit: Change, seed: int, positions: Sequence[int]) -> Change:
    """Return an edit's placebo: values moved as far as it moves them, in a random direction, at each site another."""

    def how(values: Tensor) -> Tensor:
        return moved_at_random(values, edit.how(values), _drawing(f"placebo {seed}", edit.site))

    return _change(edit.site, positions, f"placebo {seed} of {edit.what}", how)


def moved_at_random(
    values: Float[Tensor, "*vector width"], towards: Float[Tensor, "*vector width"], generator: torch.Generator
) -> Float[Tensor, "*vector width"]:
    """Return vectors moved as far as to others, each in a random direction."""
    away = torch.randn(values.shape, generator=generator).to(values.device)
    distance = (towards.float() - values.float()).norm(dim=-1, keepdim=True)
    return (values.float() + distance * away / away.norm(dim=-1, keepdim=True)).to(values.dtype)


def _drawing(seed: int | str, site: Site) -> torch.Generator:
    """Return what draws random numbers for a site: for each another sequence."""
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {site}".encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(drawn)


def _change(site: Site, positions: Sequence[int] | None, what: str, how: Callable[[Tensor], Tensor]) -> Change:
    return Change(site, None if positions is None else tuple(positions), what, how)


def _finite(site: Site, values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise EditError(f"What should be put at {site} is not finite in every place: it holds NaN or infinite numbers.")
    return values


def _wrong_width(site: Site, given: Tensor, values: Tensor) -> EditError:
    return EditError(
        f"{site} has values of shape {list(values.shape[1:])} at each position, and the vector has "
        f"{list(given.shape)}. It is another site's, or another model's."
    )


def _sum(values: Tensor) -> str:
    """Return what tells these numbers from any other's."""
    exact = values.detach().double().cpu().contiguous()
    return hashlib.sha256(repr(tuple(exact.shape)).encode() + exact.numpy().tobytes()).hexdigest()
