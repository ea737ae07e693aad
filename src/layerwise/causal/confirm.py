"""Confirm what a lens suggests: exchange what it reads of two answers, layer by layer, and see what the output does.

A lens reads the answer at some layer. If what it reads there drives the output, then a model in which another answer is
read there says the other answer. The exchange is that of Gurnee et al. (2026), under any lens.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from layerwise.capture.cells import Cell
from layerwise.causal.alignment import Ids
from layerwise.causal.confirmed import EXCHANGE, KINDS, PLACEBOS, Confirmation, ConfirmedPair, LensConfirmation
from layerwise.causal.outcomes import run_cells
from layerwise.causal.pairs import ask, pair_up
from layerwise.causal.prompt_pair import answers_of_both
from layerwise.causal.sources import last_site, values_at
from layerwise.errors import EditError, PromptError
from layerwise.interventions import changes
from layerwise.lens_spec import LOGIT
from layerwise.lenses.directions import Readings, token_readings
from layerwise.lenses.fitted import FittedLens
from layerwise.models.loading.loaded import LoadedModel
from layerwise.questions.question import Question, mixed
from layerwise.readout.lenses import Lens
from layerwise.sites import Site
from layerwise.tracing.model import Model
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Request
from layerwise.types import Progress, Token
from layerwise.versions import package_versions

MILESTONES = ("first_top1", "settled_top1")

_STRANGERS = 12
"""Tokens of the vocabulary that stand for unrelated answers, where a set has too few of its own."""

_SURELY = 1e-3
"""Two runs whose effects are closer than this have nothing between them to recover."""


def confirm(
    model: Model,
    name: str,
    questions: Sequence[Question],
    *,
    lenses: Sequence[str] = (LOGIT.name,),
    milestone: str = MILESTONES[0],
    limit: int = 100,
    draws: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Confirmation:
    """Return whether the layer at which a lens reads the answer drives the output, over known questions.

    Each known question stands beside another one in its wording. At every layer, what a lens reads of the two answers
    at the last position is exchanged, and *recovery* says how far the difference of the answers' logits goes from the
    one run (0) to the other (1). Placebos go beside each exchange: `confirmed.PLACEBOS`.

    Args:
        model: what `layerwise.load` returns.
        name: what the questions are called together.
        questions: those to choose from; only ones that the model answers are used.
        lenses: as for `Model.trace`: each is asked for its own layer, and exchanged under.
        milestone: the layer at which a lens reads the answer: ``first_top1`` or ``settled_top1``.
        limit: how many questions at most; which ones depends on their names alone.
        draws: unrelated pairs, and random directions, for each exchange: one, unless there are few questions.
        seed: of placebos and intervals.
        progress: called with (what, done, total).

    Raises:
        QuestionError: no two known questions can stand beside each other.
        PromptError, LensError: there is no such lens.
        EditError: there is no such milestone, or no lens; or it is one without directions of tokens.
        CheckError: the model's numbers did not pass the checks.
    """
    if milestone not in MILESTONES:
        raise EditError(
            f"Expected a milestone at which the answer leads, {' or '.join(MILESTONES)}; got {milestone!r}."
        )
    if draws < 1:
        raise EditError(f"Placebos are drawn at least once; got {draws}.")
    if not lenses:
        raise EditError(f"Whose reading should be confirmed? Name at least one lens, such as {LOGIT.name}.")
    opened = {lens: model.open_lens(lens) for lens in dict.fromkeys(lenses)}
    asked = ask(model, questions, limit, lenses=[LOGIT.name, *opened], progress=progress)
    with model.computing() as loaded:
        tokens = sorted({_deciding(loaded, question) for question in asked.known})
        if len(tokens) < _STRANGERS:
            tokens = sorted({*tokens, *_any_tokens(loaded, seed)})
        exchanged = partial(_exchanged, loaded, _Readings(loaded, opened), tokens, draws, seed)
        paired = pair_up(name, asked, limit, exchanged, "exchanging answers", progress)
    found = [each for _, _, each in paired.done]
    read = [[getattr(trace.milestones, milestone) for trace in asked.known[one][1:]] for one, _, _ in paired.done]
    return Confirmation(
        model=model.info,
        name=name,
        milestone=milestone,
        asked=asked.count,
        known=len(asked.known),
        pairs=tuple(_pair(*each) for each in paired.done),
        skipped=dict(paired.skipped),
        lenses=tuple(
            LensConfirmation(
                lens=lens.spec.name,
                sum=lens.spec.sum,
                readable=tuple(layers[index] for layers in read),
                recovery={kind: np.stack([each.recovery[name_, kind] for each in found]) for kind in KINDS},
                follows=np.stack([each.follows[name_] for each in found]),
            )
            for index, (name_, lens) in enumerate(opened.items())
        ),
        patched=np.stack([each.patched for each in found]),
        seed=seed,
        versions=package_versions(),
    )


@dataclass(frozen=True)
class _Exchanged:
    """What exchanges do in one question's run, by lens; [layer], from 1 to n − 1."""

    recovery: dict[tuple[str, str], np.ndarray]
    """By lens and kind."""
    follows: dict[str, np.ndarray]
    patched: np.ndarray
    unpatched: float
    source: float


def _exchanged(
    model: LoadedModel,
    readings: "_Readings",
    tokens: Sequence[int],
    draws: int,
    seed: int,
    question: Question,
    other: Question,
) -> _Exchanged:
    """Exchange two questions' answers in the first one's run. Raises PromptError where they cannot stand beside."""
    answer, against, ids, others = _both(model, question, other)
    last, own = len(ids) - 1, (answer.id, against.id)
    generator = torch.Generator().manual_seed(int.from_bytes(mixed(str(seed), question.id)[:7], "big"))
    layers = range(1, model.n_layers)
    sites = [Site.at_layer(layer) for layer in layers]
    mine, theirs = values_at(model, ids, (), sites), values_at(model, others, (), sites)
    elsewhere = int(torch.randint(min(1, last - 1), max(last, 1), (1,), generator=generator))
    strangers = [each for each in tokens if each not in own]
    cells: dict[tuple[str, str, int, int], Cell] = {}
    for layer, site in zip(layers, sites, strict=True):
        state = mine[str(site)][last:]
        put = changes.put(site, theirs[str(site)][-1:], (last,))
        cells["", "", layer, 0] = Cell((put,), last)
        for lens in (each for each in readings.lenses if layer in readings.layers[each]):

            def exchange(
                two: Sequence[int], at: int, lens: str = lens, layer: int = layer, site: Site = site
            ) -> changes.Change:
                read = readings.of(lens, layer, two)
                return changes.exchange(site, read.vectors, (at,), offsets=read.offsets)

            moved = exchange(own, last)
            cells[lens, EXCHANGE, layer, 0] = Cell((moved,), last)
            cells[lens, PLACEBOS[2], layer, 0] = Cell((exchange(own, elsewhere),), elsewhere)
            far = (moved.how(state) - state).norm()
            for draw in range(draws):
                two = [strangers[each] for each in torch.randperm(len(strangers), generator=generator)[:2].tolist()]
                cells[lens, PLACEBOS[0], layer, draw] = Cell((exchange(two, last),), last)
                away = torch.randn(state.shape, generator=generator).to(state)
                there = changes.put(site, state + far * away / away.norm(), (last,))
                cells[lens, PLACEBOS[1], layer, draw] = Cell((there,), last)
    source = theirs[last_site(model)][-1]
    read = run_cells(model, ids, list(cells.values()), source, (answer, against), only_effect=True)
    unpatched, wanted = read.unpatched.logit_difference, read.source.logit_difference
    if abs(wanted - unpatched) < _SURELY:
        raise PromptError("The two runs do not differ in the answers' logits")
    differences = dict(zip(cells, read.of_cells["logit_difference"], strict=True))
    return _Exchanged(
        recovery={
            (lens, kind): _by_layer(differences, lens, kind, layers, unpatched, wanted)
            for lens in readings.lenses
            for kind in KINDS
        },
        follows={
            lens: np.array([differences.get((lens, EXCHANGE, layer, 0), 1.0) < 0 for layer in layers])
            for lens in readings.lenses
        },
        patched=_by_layer(differences, "", "", layers, unpatched, wanted),
        unpatched=unpatched,
        source=wanted,
    )


def _by_layer(
    differences: Mapping[tuple[str, str, int, int], float],
    lens: str,
    kind: str,
    layers: range,
    unpatched: float,
    wanted: float,
) -> np.ndarray:
    """Return a kind's recovery at each layer, the mean over draws; NaN where nothing was done."""
    found = [[each for key, each in differences.items() if key[:3] == (lens, kind, at)] for at in layers]
    return np.array([(np.mean(each) - unpatched) / (wanted - unpatched) if each else np.nan for each in found])


def _both(model: LoadedModel, question: Question, other: Question) -> tuple[Token, Token, Ids, Ids]:
    """Return two questions' deciding tokens, and both prompts with what stands before these."""
    asks = Request(question.prompt, question.answers[:1], alternatives=other.answers[:1], wrong=other.answers[0])
    prepared = [prepare(model, dataclasses.replace(asks, prompt=each.prompt)) for each in (question, other)]
    answer, against, ids, others = answers_of_both(*prepared)
    if against is None or answer.id == against.id:
        raise PromptError("Both answers begin with the same token")
    return answer, against, ids, others


def _deciding(model: LoadedModel, question: Question) -> int:
    """Return the token that decides a question's answer."""
    [answer] = prepare(model, Request(question.prompt, question.answers[:1])).answers
    return answer.deciding_token.id


def _any_tokens(model: LoadedModel, seed: int) -> list[int]:
    """Return tokens of the vocabulary that stand for unrelated answers, where a set has too few of its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.output_head.vocab_size, (_STRANGERS,), generator=generator).tolist()


class _Readings:
    """What lenses' readings of tokens go by, of every token that was asked for once."""

    def __init__(self, model: LoadedModel, lenses: Mapping[str, Lens]) -> None:
        self._model, self.lenses = model, lenses
        self._known: dict[int, dict[tuple[str, int], tuple[Tensor, Tensor]]] = {}
        self.layers = {
            name: [at for at in range(1, model.n_layers) if not isinstance(lens, FittedLens) or at in lens.translators]
            for name, lens in lenses.items()
        }
        """By lens, layers before the last that it has something for."""

    def of(self, lens: str, layer: int, ids: Sequence[int]) -> Readings:
        """Return what a lens's readings of tokens go by at a layer."""
        if missing := [each for each in dict.fromkeys(ids) if each not in self._known]:
            self._add(missing)
        vectors, offsets = zip(*(self._known[each][lens, layer] for each in ids), strict=True)
        return Readings(torch.stack(vectors), torch.stack(offsets))

    def _add(self, ids: list[int]) -> None:
        self._known |= {each: {} for each in ids}
        for name, lens in self.lenses.items():
            found = token_readings(lens, self._model.output_head, self.layers[name], ids, self._model.n_layers)
            for layer, read in found.items():
                for each, vector, offset in zip(ids, read.vectors, read.offsets, strict=True):
                    self._known[each][name, layer] = vector, offset


def _pair(question: Question, other: Question, found: _Exchanged) -> ConfirmedPair:
    return ConfirmedPair(
        question.item,
        question.wording,
        question.prompt,
        other.prompt,
        question.answers[0],
        other.answers[0],
        found.unpatched,
        found.source,
    )
