"""Which places are read for which request, and what was read there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.loop import capture
from layerwise.capture.plan import Sequence as TokenSequence
from layerwise.errors import CheckError
from layerwise.models.head import Head
from layerwise.models.loading import LoadedModel
from layerwise.readout.kernel import Readout, read_out
from layerwise.readout.lenses import Lens
from layerwise.tracing.request import Prepared


@dataclass(frozen=True)
class Place:
    """A position behind which the next token is read: one of the kernel's groups."""

    request: int
    position: int
    forced: tuple[int, ...] = ()
    """Answer tokens between the prompt and here; empty in the prompt and in what the model generated."""


@dataclass(frozen=True, eq=False)
class Captured:
    """Hidden states of all requests."""

    states: Float[Tensor, "group layer d_model"]
    groups: dict[Place, int]
    """Index on the group axis, in its order."""

    def at(self, *places: Place) -> Float[Tensor, "place layer d_model"]:
        """Return the states of some places."""
        return self.states[[self.groups[place] for place in places]]


@dataclass(frozen=True, eq=False)
class Reading:
    """What one lens says at every place. Arrays come back as numpy, [layer, …]."""

    readout: Readout
    groups: dict[Place, int]
    targets: list[list[int]]
    """Token ids per group, in the order of the readout's target axis."""
    kl_from_logit_lens_bits: Float[Tensor, "group layer"]
    """KL(logit lens ‖ this lens) at the same layer; 0 for the logit lens itself."""

    def table(self, values: Tensor, places: Sequence[Place]) -> np.ndarray:
        """Return a [group, layer, …] statistic as [layer, place, …]."""
        return values[[self.groups[place] for place in places]].movedim(0, 1).cpu().numpy()

    def logprob(self, place: Place, token: int) -> np.ndarray:
        """Return a token's log-probability there, [layer]."""
        return self._target(self.readout.target_logprobs, place, token)

    def rank(self, place: Place, token: int) -> np.ndarray:
        """Return a token's rank there, [layer]."""
        return self._target(self.readout.target_ranks, place, token)

    def ties(self, place: Place, token: int) -> np.ndarray:
        """Return how many other tokens have exactly its logit, [layer]."""
        return self._target(self.readout.target_ties, place, token)

    def margin(self, place: Place, tokens: Sequence[int]) -> np.ndarray:
        """Return the best of `tokens`' logits minus the best of all others', [layer].

        The best outside is among the top entries as long as more are kept than there are `tokens`.
        """
        group = self.groups[place]
        inside = np.max([self.logprob(place, token) for token in tokens], axis=0)
        ids, logprobs = (
            self.readout.top_ids[group].cpu().numpy(),
            self.readout.top_logprobs[group].cpu().numpy(),
        )
        return inside - np.where(np.isin(ids, tokens), -np.inf, logprobs).max(axis=-1)

    def _target(self, values: Tensor, place: Place, token: int) -> np.ndarray:
        group = self.groups[place]
        return values[group, :, self.targets[group].index(token)].cpu().numpy()


def capture_requests(
    model: LoadedModel, prepared: list[Prepared], on_layer: Callable[[int], None] | None = None
) -> Captured:
    """Run each sequence that the requests need once, and stack the states of all places.

    A request's first sequence is its prompt followed by the generated tokens, or else by the first
    answer; answers that go on differently have sequences of their own.
    """
    sequences: list[TokenSequence] = []
    places: list[Place] = []
    for index, item in enumerate(prepared):
        tails = list(dict.fromkeys(answer.ids[:-1] for answer in item.answers if len(answer.ids) > 1))
        runs = [(item.generated[:-1], [Place(index, position) for position in item.positions])]
        if tails and not item.generated[:-1]:
            tail = tails.pop(0)
            runs = [(tail, runs[0][1] + _forced_places(index, item, tail))]
        runs += [(tail, _forced_places(index, item, tail)) for tail in tails]
        for tail, wanted in runs:
            sequences.append(TokenSequence(item.ids + tail, tuple(place.position for place in wanted)))
            places += wanted
    states = capture(model, sequences, on_layer)
    # Tails that share a beginning read the same place more than once; the last of equals serves all.
    return Captured(torch.cat(states), {place: group for group, place in enumerate(places)})


def _forced_places(index: int, item: Prepared, tail: tuple[int, ...]) -> list[Place]:
    return [Place(index, len(item.ids) + k, tail[: k + 1]) for k in range(len(tail))]


def read_requests(model: LoadedModel, prepared: list[Prepared], captured: Captured, lens: Lens) -> Reading:
    """Return what a lens reads at every captured place.

    Raises:
        CheckError: the numbers are not finite.
    """
    used = list(captured.groups.values())
    states = captured.states if len(used) == len(captured.states) else captured.states[used]
    targets = [_targets(prepared[place.request], place) for place in captured.groups]
    special = model.tokenizer.special_ids
    with torch.no_grad():
        rows, normed = lens.rows(states, model.head), model.head.normed(states)
        readout = read_out(
            rows,
            model.head,
            reference=normed[:, -1],
            top_k=max(max(item.request.top_k, len(item.answers) + 1) for item in prepared),
            targets=targets,
            mass_ids=[sorted(_so_far(prepared[p.request], p) - special) for p in captured.groups],
        )
        apart = _kl_from_logit_lens(lens, rows, normed, model.head)
    if not bool(readout.entropy_bits.isfinite().all() and readout.kl_from_final_bits.isfinite().all()):
        raise CheckError(
            f"The {lens.name} lens gives NaN or infinite numbers. Hidden states most likely overflowed: run with "
            "--dtype float32 (float16 is too narrow for Gemma, for instance)."
        )
    return Reading(readout, {place: group for group, place in enumerate(captured.groups)}, targets, apart)


def _kl_from_logit_lens(lens: Lens, rows: Tensor, normed: Tensor, head: Head) -> Float[Tensor, "group layer"]:
    """Return KL(logit lens ‖ lens) in bits: here every row has a reference of its own."""
    if lens.name == "logit":
        return rows.new_zeros(rows.shape[:2])
    each = read_out(rows.flatten(0, 1)[:, None], head, reference=normed.flatten(0, 1), top_k=1)
    return each.kl_from_final_bits.view(rows.shape[:2])


def _so_far(item: Prepared, place: Place) -> set[int]:
    """Return the distinct ids at or before a place."""
    return set((item.ids + (place.forced or item.generated))[: place.position + 1])


def _targets(item: Prepared, place: Place) -> list[int]:
    """Return the distinct ids whose log-probability and rank are wanted at a place."""
    wanted = [] if place.forced else [token.id for token in item.tracked]
    done = place.position - item.last
    if done == len(place.forced):
        wanted += [a.ids[done] for a in item.answers if a.ids[:done] == place.forced and done < len(a.ids)]
    return list(dict.fromkeys(wanted))
