"""Confirm what a lens suggests: exchange what it reads of two answers, layer by layer, and see what the output does.

A lens reads the answer at some layer. If what it reads there drives the output, then a model in which another answer is
read there says the other answer. The exchange is that of Gurnee et al. (2026), under any lens.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from layerwise.capture.cells import Cell
from layerwise.causal.asked_prompt import AskedPrompt, asked_of_both
from layerwise.causal.confirmed import EXCHANGE, KINDS, PLACEBOS, Confirmation, ConfirmedPair, LensConfirmation
from layerwise.causal.outcomes import SURELY, run_cells
from layerwise.causal.pairs import ask, pair_up
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
    through = list(dict.fromkeys([LOGIT.name, *opened]))
    asked = ask(model, questions, limit, lenses=through, progress=progress)
    with model.computing() as loaded:
        tokens = sorted({_deciding(loaded, question) for question in asked.known})
        if len(tokens) < _STRANGERS:
            tokens = sorted({*tokens, *_any_tokens(loaded, seed)})
        exchanged = partial(_exchanged, loaded, _Readings(loaded, opened), tokens, draws, seed)
        paired = pair_up(name, asked, limit, exchanged, "exchanging answers", progress)
    found = [each for _, _, each in paired.done]
    milestones = [[getattr(trace.milestones, milestone) for trace in asked.known[one]] for one, _, _ in paired.done]
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
                readable=tuple(layers[through.index(name_)] for layers in milestones),
                recovery={kind: np.stack([each.recovery[name_, kind] for each in found]) for kind in KINDS},
                follows=np.stack([each.follows[name_] for each in found]),
            )
            for name_, lens in opened.items()
        ),
        patched=np.stack([each.patched for each in found]),
        seed=seed,
        versions=package_versions(),
    )


_WHOLE = "state"
"""The other question's whole state, put in the place of this one's; under no lens."""

_Done = tuple[str, str, int]
"""Under which lens, what, and at which layer."""


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
    asked, beside, against = _both(model, question, other)
    ids, last, own = asked.ids, len(asked.ids) - 1, (asked.answer.id, against.id)
    generator = torch.Generator().manual_seed(int.from_bytes(mixed(str(seed), question.id)[:7], "big"))
    layers = range(1, model.n_layers)
    sites = [Site.at_layer(layer) for layer in layers]
    mine, theirs = values_at(model, ids, (), sites), values_at(model, beside.ids, (), sites)
    elsewhere = int(torch.randint(min(1, last - 1), max(last, 1), (1,), generator=generator))
    strangers = [each for each in tokens if each not in own]
    cells: list[tuple[_Done, Cell]] = []

    def cell(lens: str, kind: str, layer: int, change: changes.Change, at: int = last) -> None:
        cells.append(((lens, kind, layer), Cell((change,), at)))

    for layer, site in zip(layers, sites, strict=True):
        state = mine[str(site)][last:]
        cell("", _WHOLE, layer, changes.put(site, theirs[str(site)][-1:], (last,)))
        for lens in (each for each in readings.lenses if layer in readings.layers[each]):

            def exchange(
                two: Sequence[int], at: int = last, lens: str = lens, layer: int = layer, site: Site = site
            ) -> changes.Change:
                read = readings.of(lens, layer, two)
                return changes.exchange(site, read.vectors, (at,), offsets=read.offsets)

            moved = exchange(own)
            cell(lens, EXCHANGE, layer, moved)
            cell(lens, PLACEBOS[2], layer, exchange(own, elsewhere), elsewhere)
            for _ in range(draws):
                two = [strangers[each] for each in torch.randperm(len(strangers), generator=generator)[:2].tolist()]
                cell(lens, PLACEBOS[0], layer, exchange(two))
                away = changes.moved_at_random(state, moved.how(state), generator)
                cell(lens, PLACEBOS[1], layer, changes.put(site, away, (last,)))
    source, answers = theirs[last_site(model)][-1], (asked.answer, against)
    read = run_cells(model, ids, [each for _, each in cells], source, answers, only_effect=True)
    unpatched, wanted = read.unpatched.logit_difference, read.source.logit_difference
    if abs(wanted - unpatched) < SURELY:
        raise PromptError("The two runs do not differ in the answers' logits")
    differences: dict[_Done, list[float]] = defaultdict(list)
    for (done, _), difference in zip(cells, read.of_cells["logit_difference"], strict=True):
        differences[done].append(difference)

    def recovery(lens: str, kind: str) -> np.ndarray:
        """Return a kind's recovery at each layer, the mean over draws; NaN where nothing was done."""
        means = np.array([np.mean(differences.get((lens, kind, layer), np.nan)) for layer in layers])
        return (means - unpatched) / (wanted - unpatched)

    return _Exchanged(
        recovery={(lens, kind): recovery(lens, kind) for lens in readings.lenses for kind in KINDS},
        follows={
            lens: np.array([differences.get((lens, EXCHANGE, layer), [1.0])[0] < 0 for layer in layers])
            for lens in readings.lenses
        },
        patched=recovery("", _WHOLE),
        unpatched=unpatched,
        source=wanted,
    )


def _both(model: LoadedModel, question: Question, other: Question) -> tuple[AskedPrompt, AskedPrompt, Token]:
    """Return two questions, both asked for the first one's answer and the other's, and the token that decides that."""
    asks = Request.between(question.prompt, question.answers[0], other.answers[0])
    asked, beside = asked_of_both(
        *(prepare(model, dataclasses.replace(asks, prompt=each.prompt)) for each in (question, other))
    )
    if asked.against is None or asked.answer.id == asked.against.id:
        raise PromptError("Both answers begin with the same token")
    return asked, beside, asked.against


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
