"""Which places are read for which request, and what was read there."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import BlockRunner, drive
from layerwise.capture.observers import Observer
from layerwise.capture.own_forward import OwnForward
from layerwise.capture.sweep import Sweep
from layerwise.errors import CheckError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import Lens, LogitLens
from layerwise.readout.readout import Readout
from layerwise.tracing.leaders import LeaderTracker
from layerwise.tracing.prepared_request import Prepared
from layerwise.tracing.trace import Leaders
from layerwise.types import Progress

_GROUPS_AT_ONCE = 16

_NO_LENGTH = 1e-30
"""Keeps the cosine of a state of length 0 at 0."""


@dataclass(frozen=True)
class Place:
    """A position after which the next token is read."""

    request: int
    position: int
    forced: tuple[int, ...] = ()
    """Answer tokens between the prompt and here; empty in the prompt and in what the model generated."""


@dataclass(frozen=True, eq=False)
class Captured:
    """Hidden states of all requests."""

    states: Float[Tensor, "place layer d_model"]
    index_of: dict[Place, int]
    """Index on the place axis, in its order."""
    own: OwnForward | None
    """transformers' own forward on the prompt that was to be checked."""
    release: Callable[[], None] = lambda: None
    """Gives back the memory of states that lie on disk; to be called while going through them."""

    def at(self, place: Place) -> Float[Tensor, "layer d_model"]:
        """Return the states of a place."""
        return self.states[self.index_of[place]]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The residual stream's own measures at every place, whatever the lens."""

    norm: Float[Tensor, "place layer"]
    cosine_to_final: Float[Tensor, "place layer"]

    @staticmethod
    def of(captured: Captured) -> "Geometry":
        """Measure states, a few places at a time: raised to float32 together they could fill the memory."""
        states = captured.states
        norms, cosines = (torch.empty(states.shape[:2]) for _ in range(2))
        for start in range(0, len(states), _GROUPS_AT_ONCE):
            some = slice(start, start + _GROUPS_AT_ONCE)
            part = states[some].float()
            norm = part.norm(dim=-1)
            direction = part / norm.clamp_min(_NO_LENGTH)[..., None]
            norms[some], cosines[some] = norm, (direction * direction[:, -1:]).sum(-1)
            captured.release()
        return Geometry(norms, cosines)


@dataclass(frozen=True, eq=False)
class Reading:
    """What one lens says at every place. Arrays come back as numpy, [layer, …]."""

    readout: Readout
    index_of: dict[Place, int]
    targets: list[list[int]]
    """Token ids per place, in the order of the readout's target axis."""
    leaders: dict[int, Leaders] = field(default_factory=dict)
    """By place, where they are wanted."""
    beside_logit: bool = False
    """Whether the logit lens was read too, so that this one is compared with it (`Readout.kl_from_base_bits`)."""

    def table(self, values: Tensor, places: Sequence[Place]) -> np.ndarray:
        """Return a [place, layer, …] statistic as [layer, place, …]."""
        return values[[self.index_of[place] for place in places]].movedim(0, 1).numpy()

    def logprob(self, place: Place, token: int) -> np.ndarray:
        """Return a token's log-probability there, [layer]."""
        return self._target(self.readout.target_logprobs, place, token)

    def rank(self, place: Place, token: int) -> np.ndarray:
        """Return a token's rank there, [layer]."""
        return self._target(self.readout.target_ranks, place, token)

    def ties(self, place: Place, token: int) -> np.ndarray:
        """Return how many other tokens have exactly its logit, [layer]."""
        return self._target(self.readout.target_ties, place, token)

    def prob(self, place: Place, tokens: Sequence[int]) -> np.ndarray:
        """Return some tokens' probability together there, [layer]."""
        return np.sum([np.exp(self.logprob(place, token)) for token in tokens], axis=0)

    def margin(self, place: Place, tokens: Sequence[int]) -> np.ndarray:
        """Return the best of `tokens`' logits minus the best of all others', [layer].

        The best outside is among the top entries as long as more are kept than there are `tokens`.
        """
        at = self.index_of[place]
        inside = np.max([self.logprob(place, token) for token in tokens], axis=0)
        ids, logprobs = self.readout.top_ids[at].numpy(), self.readout.top_logprobs[at].numpy()
        return inside - np.where(np.isin(ids, tokens), -np.inf, logprobs).max(axis=-1)

    def _target(self, values: Tensor, place: Place, token: int) -> np.ndarray:
        at = self.index_of[place]
        return values[at, :, self.targets[at].index(token)].numpy()


@dataclass(frozen=True, eq=False)
class PlacesRead:
    """Some places through one lens: what a trace's measures are taken from."""

    reading: Reading
    geometry: Geometry
    places: Sequence[Place]

    @property
    def readout(self) -> Readout:
        """Of all places; `table` picks these."""
        return self.reading.readout

    def table(self, values: Tensor) -> np.ndarray:
        """Return a [place, layer, …] statistic as [layer, place, …]."""
        return self.reading.table(values, self.places)


@dataclass(frozen=True, eq=False)
class Readings:
    """What all lenses say at every place, and the model's output there."""

    by_lens: list[Reading]
    output: Readout
    """One row per place: the logit lens at layer n, which the identity check compares with the model."""
    index_of: dict[Place, int]
    targets: list[list[int]]
    temperatures: tuple[float, ...]
    """At which log-sum-exps were taken, beside 1."""

    def lse(self, reading: Reading, place: Place, temperatures: Sequence[float]) -> np.ndarray:
        """Return the log-sum-exp of the logits divided by each temperature, [layer, temperature]."""
        columns = [(1.0, *self.temperatures).index(temperature) for temperature in temperatures]
        return reading.readout.lse[self.index_of[place]][:, columns].double().numpy()


def capture_requests(
    model: LoadedModel,
    prepared: list[Prepared],
    check: tuple[int, ...] | None = None,
    progress: Progress | None = None,
    observers: Sequence[Observer] = (),
    beside: Sequence[BlockRunner] = (),
) -> Captured:
    """Run each forward pass that the requests need once, and stack the states of all places.

    A request's first pass is its prompt followed by the generated tokens, or else by the first
    answer; answers that go on differently have passes of their own. Tails that share a beginning
    share its places: the first request's positions are the first. A tail with which a text gets too
    long for its prompt's rotary frequencies has a pass for each set of them. With `check`, a prompt, transformers'
    own forward goes through the blocks along with them; so does what runs `beside`.
    """
    passes: list[ForwardPass] = []
    index_of: dict[Place, int] = {}
    for index, item in enumerate(prepared):
        tails = list(dict.fromkeys(answer.ids[:-1] for answer in item.scored if len(answer.ids) > 1))
        runs = [(item.generated[:-1], [Place(index, position) for position in item.positions])]
        if tails and not item.generated[:-1]:
            tail = tails.pop(0)
            runs = [(tail, runs[0][1] + _forced_places(index, item, tail))]
        runs += [(tail, _forced_places(index, item, tail)) for tail in tails]
        for tail, places in runs:
            wanted = [place for place in places if place not in index_of]
            for read in _by_rope(model, item, wanted):
                ids = (item.ids + tail)[: _text_length(item, read[-1])]
                passes.append(ForwardPass(ids, tuple(place.position for place in read), item.edits))
                index_of |= {place: len(index_of) + k for k, place in enumerate(read)}
    sweep = Sweep(model, passes, observers, progress=progress)
    own = drive(model, [sweep, *beside], reference=check)
    return Captured(sweep.states, index_of, own, sweep.release)


def _by_rope(model: LoadedModel, item: Prepared, places: list[Place]) -> Iterator[list[Place]]:
    """Divide consecutive places by the set of rotary frequencies that their text is read with."""
    for _, some in itertools.groupby(places, lambda place: model.rope_of(_text_length(item, place))):
        yield list(some)


def _text_length(item: Prepared, place: Place) -> int:
    """Return how many tokens the text has that is read at a place: at least the prompt."""
    return max(len(item.ids), place.position + 1)


def _forced_places(index: int, item: Prepared, tail: tuple[int, ...]) -> list[Place]:
    return [Place(index, len(item.ids) + k, tail[: k + 1]) for k in range(len(tail))]


def read_requests(
    model: LoadedModel,
    prepared: list[Prepared],
    captured: Captured,
    lenses: Sequence[Lens],
    progress: Progress | None = None,
) -> Readings:
    """Return what lenses read at every captured place, in one pass over the vocabulary.

    The output is always read, and last: layer n of the logit lens, which comes after all others where it is asked for.
    Only then are other lenses compared with it, layer by layer: else its rows would be as many again as another's.

    Raises:
        CheckError: the numbers are not finite.
    """
    logit = LogitLens()
    with_logit = logit.spec in [lens.spec for lens in lenses]
    side_by_side = [lens for lens in lenses if lens.spec != logit.spec] + [logit] * with_logit
    n_rows = captured.states.shape[1]

    def rows_of(states: Tensor) -> Tensor:
        captured.release()  # of the places before
        rows = [lens.rows(states, model.output_head) for lens in side_by_side]
        return torch.cat(rows if with_logit else [*rows, logit.rows(states[:, -1:], model.output_head)], dim=1)

    targets = [_targets(prepared[place.request], place) for place in captured.index_of]
    special = model.tokenizer.special_ids
    rows_of_lenses = [slice(at * n_rows, (at + 1) * n_rows) for at in range(len(side_by_side))]
    tracker = LeaderTracker([_followed(prepared[place.request], place) for place in captured.index_of], rows_of_lenses)
    temperatures = tuple(sorted({t for item in prepared for t in item.request.temperatures} - {1.0}))
    with torch.no_grad():
        readout = read_out(
            captured.states,
            model.output_head,
            rows_of=rows_of,
            top_k=max(max(item.request.top_k, len(item.answers) + 1) for item in prepared),
            targets=targets,
            mass_ids=[sorted(_so_far(prepared[p.request], p) - special) for p in captured.index_of],
            temperatures=temperatures,
            base=_rows_of_last(len(side_by_side), n_rows) if with_logit else (),
            observe=tracker.see,
            progress=progress,
        )
    if not bool(readout.entropy_bits.isfinite().all() and readout.kl_from_final_bits.isfinite().all()):
        names = " or ".join(lens.spec.name for lens in side_by_side)
        raise CheckError(
            f"The {names} lens gives NaN or infinite numbers. Hidden states most likely "
            "overflowed: run with --dtype float32 (float16 is too narrow for Gemma, for instance)."
        )
    by_spec = {
        lens.spec: Reading(readout.rows(rows), captured.index_of, targets, leaders, beside_logit=with_logit)
        for lens, rows, leaders in zip(side_by_side, rows_of_lenses, tracker.by_lens, strict=True)
    }
    output = readout.rows(slice(-1, None))
    return Readings([by_spec[lens.spec] for lens in lenses], output, captured.index_of, targets, temperatures)


def _rows_of_last(n_lenses: int, n_rows: int) -> list[int]:
    """Return per row of lenses side by side the row of the same layer through the last one."""
    return [(n_lenses - 1) * n_rows + row % n_rows for row in range(n_lenses * n_rows)]


def _so_far(item: Prepared, place: Place) -> set[int]:
    """Return the distinct ids at or before a place."""
    return set((item.ids + (place.forced or item.generated))[: place.position + 1])


def _followed(item: Prepared, place: Place) -> list[int] | None:
    """Return the tokens that are kept beside a place's leaders; None where not even those are wanted."""
    if place.forced or not item.request.leaders:
        return None
    return [answer.deciding_token.id for answer in item.answers]


def _targets(item: Prepared, place: Place) -> list[int]:
    """Return the distinct ids whose log-probability and rank are wanted at a place."""
    wanted = [] if place.forced else [token.id for token in item.tracked]
    done = place.position - item.last
    if done == len(place.forced):
        wanted += [a.ids[done] for a in item.scored if a.ids[:done] == place.forced and done < len(a.ids)]
    return list(dict.fromkeys(wanted))
