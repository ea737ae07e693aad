"""Edits of requests: what was asked for becomes changes of the prompt's pass."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.site_values import capture_sites, resolve_sites
from layerwise.errors import EditError
from layerwise.interventions import changes
from layerwise.interventions.along import Add, Along, AlongMeans
from layerwise.interventions.changes import Change
from layerwise.interventions.specs import Cut, EditSpec, Mean, Noise, Patch, Resample, Scale, Zero, site_of
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import KINDS, Site
from layerwise.tracing.directions import along, as_readings, given_readings, translate
from layerwise.tracing.positions import chosen_positions
from layerwise.tracing.prompt_tokens import prompt_tokens
from layerwise.tracing.request import Request
from layerwise.types import Progress

Later = Callable[[], Change]
"""Makes an edit, once other prompts have run whose values it takes."""


class OtherPrompts:
    """What other prompts have at sites: asked for first, run together, and then taken."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._wanted: dict[tuple[int, ...], set[Site]] = defaultdict(set)
        self._found: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
        self._ids: dict[tuple[Request, str], tuple[int, ...]] = {}

    def ids(self, request: Request, prompt: str) -> tuple[int, ...]:
        """Return another prompt in tokens, put into the chat template where the request's own is."""
        if (request, prompt) not in self._ids:
            asked = replace(request, prompt=prompt, answers=(), alternatives=(), wrong=None)
            self._ids[request, prompt] = prompt_tokens(self._model.tokenizer, asked).ids
        return self._ids[request, prompt]

    def want(self, ids: tuple[int, ...], site: Site) -> None:
        """Ask for what a prompt has at a site."""
        self._wanted[ids].add(site)

    def run(self, progress: Progress | None = None) -> None:
        """Run all that were asked for, in one pass through the model."""
        if not self._wanted:
            return
        passes = [ForwardPass(ids, tuple(range(len(ids)))) for ids in self._wanted]
        sites = sorted({site for each in self._wanted.values() for site in each}, key=str)
        found = capture_sites(self._model, passes, sites, progress)
        self._found = dict(zip(self._wanted, found, strict=True))

    def values(self, ids: tuple[int, ...], site: Site, positions: Sequence[int]) -> Float[Tensor, "position ..."]:
        """Return what a prompt has at a site; of patterns [head, query, key]."""
        values = torch.from_numpy(self._found[ids][str(site)])
        at = torch.tensor(positions)
        return values.index_select(-2, at) if site.kind == "pattern" else values[at]


def plan_specs(
    model: LoadedModel, request: Request, ids: tuple[int, ...], specs: Sequence[EditSpec], others: OtherPrompts
) -> list[Later]:
    """Return what makes edits of a prompt's tokens, having asked for what they take from other prompts.

    Raises:
        EditError: two change the same, a position is not there, or prompts do not go together.
        PromptError: another prompt cannot be used, or a block or position is none.
        UnsupportedModelError: the architecture lacks a site; the message says what it has.
    """
    planned: list[Later] = []
    taken: list[tuple[Site, set[int], EditSpec]] = []
    for spec in specs:
        positions = None if spec.positions == "all" else tuple(chosen_positions(spec.positions, len(ids)))
        for site in _sites(model, spec.site):
            _expect_free(taken, site, {*(range(len(ids)) if positions is None else positions)}, spec)
            made = _planned(model, request, ids, spec, site, positions, others)
            own = spec.placebo is None or isinstance(spec, Add)  # whose placebo is another vector, everywhere the same
            planned.append(made if own else _placebo(made, spec.placebo or 0, positions, len(ids)))
    return planned


def _placebo(made: Later, seed: int, positions: tuple[int, ...] | None, length: int) -> Later:
    """Return what makes an edit's placebo: at the prompt's positions only, as noise is."""
    return lambda: changes.placebo(made(), seed, range(length) if positions is None else positions)


def _sites(model: LoadedModel, name: str) -> list[Site]:
    wanted: list[str | Site] = [name if name in KINDS else site_of(name)]
    if isinstance(at := wanted[0], Site) and at.layer is not None and at.layer > model.n_layers:
        raise EditError(f"There is no layer {at.layer}: this model's are 0 to {model.n_layers}.")
    return [site if site.layer is None else Site.at_layer(site.layer) for site in resolve_sites(model, wanted)]


def _expect_free(taken: list[tuple[Site, set[int], EditSpec]], site: Site, positions: set[int], spec: EditSpec) -> None:
    """Note what an edit changes. Raises EditError where another changes it already: their order would decide."""
    for other, there, by in taken:
        same = (other.block, other.kind) == (site.block, site.kind)
        if same and positions & there and (site.head == other.head or None in (site.head, other.head)):
            raise EditError(
                f"Two edits change {site} at position {min(positions & there)}: {by} and {spec}. Which is made first "
                "would decide what comes out. Make one edit of them."
            )
    taken.append((site, positions, spec))


def _planned(
    model: LoadedModel,
    request: Request,
    ids: tuple[int, ...],
    spec: EditSpec,
    site: Site,
    positions: tuple[int, ...] | None,
    others: OtherPrompts,
) -> Later:
    """Return what makes one edit of one site."""
    of_prompt = tuple(range(len(ids))) if positions is None else positions
    if isinstance(spec, Patch):
        source = others.ids(request, spec.source) if spec.source else ids
        [of] = _sites(model, spec.of) if spec.of else [site]
        there = _aligned(model, spec, of_prompt, source)
        through = translate(model, spec.lens, of) if spec.lens else None
        others.want(source, of)

        def patch() -> Change:
            values = others.values(source, of, there)
            return changes.put(site, through(values) if through else values, of_prompt)

        return patch
    if isinstance(spec, Along):
        if not isinstance(spec, AlongMeans) or not spec.toward:
            read = given_readings(model, spec, site)
            return lambda: along(spec, site, read, positions)
        there, from_there = (_of_prompts(request, spec, site, p, others) for p in (spec.toward, spec.away))
        return lambda: along(spec, site, as_readings(_mean(there()) - _mean(from_there())), positions)
    if isinstance(spec, Mean | Resample):
        of_set = _of_prompts(request, spec, site, spec.over, others)
        return lambda: _from_set(spec, site, of_set(), positions, of_prompt)
    own = _own_change(spec, site, positions, len(ids))
    return lambda: own


def _own_change(spec: EditSpec, site: Site, positions: tuple[int, ...] | None, length: int) -> Change:
    """Return an edit, of a prompt of some length, that takes nothing from other prompts."""
    match spec:
        case Zero():
            return changes.zero(site, positions)
        case Scale(factor=factor):
            return changes.scale(site, factor, positions)
        case Noise(deviation=deviation, seed=seed):
            return changes.noise(site, deviation, seed, range(length) if positions is None else positions)
        case Cut(keys=keys):
            return changes.cut(site, positions, chosen_positions(keys, length))
        case _:
            raise NotImplementedError(spec.operation)


def _of_prompts(
    request: Request,
    spec: Mean | Resample | AlongMeans,
    site: Site,
    prompts: Sequence[str],
    others: OtherPrompts,
) -> Callable[[], Float[Tensor, "position ..."]]:
    """Return what gives a site's values at an edit's positions of other prompts, one after another."""
    if site.kind == "pattern":
        raise EditError(f"{spec}: prompts of other lengths have patterns of other shapes. Cut edges instead.")
    ids = [others.ids(request, prompt) for prompt in prompts]
    places = [(each, chosen_positions(spec.at, len(each))) for each in ids]
    for each in ids:
        others.want(each, site)
    return lambda: torch.cat([others.values(each, site, at) for each, at in places])


def _mean(values: Float[Tensor, "position ..."]) -> Float[Tensor, "1 ..."]:
    return values.double().mean(0, keepdim=True).float()


def _from_set(
    spec: Mean | Resample,
    site: Site,
    values: Float[Tensor, "position ..."],
    positions: tuple[int, ...] | None,
    of_prompt: tuple[int, ...],
) -> Change:
    """Return the edit that puts a set's mean in a site's place, or for each position one that is drawn from the set."""
    if isinstance(spec, Mean):
        return changes.put(site, _mean(values), positions)
    drawn = torch.randint(len(values), (len(of_prompt),), generator=torch.Generator().manual_seed(spec.seed))
    return changes.put(site, values[drawn], of_prompt)


def _aligned(model: LoadedModel, spec: Patch, positions: tuple[int, ...], source: tuple[int, ...]) -> tuple[int, ...]:
    """Return the positions of the source that stand for a prompt's."""
    there = tuple(chosen_positions(spec.at, len(source))) if spec.at else positions
    if max(there) >= len(source) or len(there) not in (1, len(positions)):
        pieces = " ".join(repr(token.text) for token in model.tokenizer.tokens(source))
        raise EditError(
            f"{spec} changes {len(positions)} positions ({', '.join(map(str, positions))}) and takes values of "
            f"{len(there)} ({', '.join(map(str, there))}); its source has {len(source)} tokens: {pieces}. Say with "
            "at=… which of them stand for those that change: as many, or one for all."
        )
    return there
