"""Requests in, traces out: capture, checks, readout and measures, joined."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layerwise.capture.edits import attention_for
from layerwise.lens_spec import LOGIT, LensSpec
from layerwise.lenses.names import expect_told_apart
from layerwise.lenses.opening import open_lens
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.lenses import Lens
from layerwise.readout.readout import ReadoutPlan
from layerwise.readout.row_statistics import read_logits
from layerwise.tracing.answer_reading import join_answers
from layerwise.tracing.causality_check import Lookahead, expect_causal
from layerwise.tracing.checks import Checker, still_hold
from layerwise.tracing.early_reader import EarlyReader, OnLayer
from layerwise.tracing.identity_check import IdentityCheck
from layerwise.tracing.layer_measures import MEASURES
from layerwise.tracing.places import Geometry, Place, PlacesRead, Reading, Readings, capture_requests, read_requests
from layerwise.tracing.prepared_request import Prepared, make_ready
from layerwise.tracing.request import Request
from layerwise.tracing.trace import Checks, TokenTrace, Trace
from layerwise.types import Progress, TokenProb
from layerwise.versions import package_versions


@dataclass(frozen=True)
class _Output:
    """The model's own prediction after a prompt."""

    source: str
    top: tuple[TokenProb, ...]
    by_temperature: tuple[tuple[float, tuple[TokenProb, ...]], ...]


def trace_requests(
    model: LoadedModel,
    requests: Sequence[Request],
    *,
    lenses: Sequence[str | Lens] = (LOGIT.name,),
    checker: Checker,
    check_length_groups: bool = False,
    progress: Progress | None = None,
    on_layer: OnLayer | None = None,
) -> list[list[Trace]]:
    """Return, per request, its trace through each lens.

    All requests share one pass through the model; what else is in it changes a result by no more
    than float rounding.

    Args:
        model: the model to read.
        requests: prompts, and what to read after them.
        lenses: lenses, or what `open_lens` finds them by; all read the same captured states.
        checker: remembers which checks this model has passed.
        check_length_groups: run the identity check once per length group instead of once per model.
        progress: told how far it is.
        on_layer: shown each layer of the first request, through the first lens, as soon as it is computed.

    Raises:
        PromptError: a request cannot be turned into tokens, or two lenses would have one name.
        EditError: an edit cannot be made.
        LensError: a lens cannot be read, or was fitted for another model.
        UnsupportedModelError: the model is not causal.
        CheckError: the numbers are not the model's own.
    """
    if not requests:
        return []
    chosen = [open_lens(lens, model) for lens in lenses]
    expect_told_apart((lens.spec.name, str(lens.spec.key)) for lens in chosen)
    prepared = make_ready(model, requests, progress)
    due = checker.due(model, [item.ids for item in prepared])
    early = [EarlyReader(model, prepared[0], chosen[0], on_layer)] if on_layer else []
    # All that runs side by side is made for one kind of attention: its masks suit no other.
    with attention_for(model, [edit.site for item in prepared for edit in item.edits]):
        ahead = None if checker.causal else Lookahead(model, prepared[0].ids)
        captured = capture_requests(model, prepared, due, progress, early, [ahead.sweep] if ahead else [])
    if ahead:
        expect_causal(model, ahead.worst)
        checker.causal = True
    checks = checker.check(model, prepared, captured, length_groups=check_length_groups)
    geometry = Geometry.of(captured)
    readings = read_requests(model, prepared, captured, chosen, progress)
    if not still_hold(checks, prepared, readings):
        checker.forget()
        checks = checker.check(model, prepared, captured, length_groups=check_length_groups)
    traces: list[list[Trace]] = []
    for index, item in enumerate(prepared):
        output = _own_output(model, index, item, checks[index], readings)
        report = _report(checks[index], checker, output.source)
        traces.append(
            [
                _join(model, index, item, lens.spec, geometry, reading, readings, output, report)
                for lens, reading in zip(chosen, readings.by_lens, strict=True)
            ]
        )
    return traces


def _own_output(model: LoadedModel, index: int, item: Prepared, check: IdentityCheck, readings: Readings) -> _Output:
    """Return the model's prediction: from its own forward if this prompt ran it, else from layer n."""
    if check.is_of(item.forward_pass):
        wanted = ReadoutPlan.of_rows(1, min(item.request.top_k, len(check.own_logits)), readings.temperatures)
        source, readout, place = "own forward", read_logits(check.own_logits[None, None], wanted), 0
    else:
        source, readout, place = "layer n", readings.output, readings.index_of[Place(index, item.last)]
    ids = readout.top_ids[place, 0, : item.request.top_k].tolist()
    texts = [model.tokenizer.text_of(i) for i in ids]

    def at(temperature: float) -> tuple[TokenProb, ...]:
        lse = readout.lse[place, 0, (1.0, *readings.temperatures).index(temperature)]
        logprobs = (readout.top_logits[place, 0, : len(ids)].double() / temperature - lse).tolist()
        return tuple(
            TokenProb(i, text, math.exp(logprob), logprob)
            for i, text, logprob in zip(ids, texts, logprobs, strict=True)
        )

    return _Output(source, at(1.0), tuple((t, at(t)) for t in item.request.temperatures))


def _report(check: IdentityCheck, checker: Checker, output_source: str) -> Checks:
    against = checker.float32
    drift = against.drift if against else None
    return Checks(
        identity_error=check.error,
        identity_limit=check.limit,
        states_error=check.states_error,
        covered_by=check.prompt,
        output_from=output_source,
        device_error=against.device_error if against else None,
        drift_variation=drift.variation if drift else None,
        drift_entropy_bits=drift.entropy_bits if drift else None,
        drift_tops=drift.tops if drift else None,
    )


def _join(
    model: LoadedModel,
    index: int,
    item: Prepared,
    lens: LensSpec,
    geometry: Geometry,
    reading: Reading,
    readings: Readings,
    output: _Output,
    checks: Checks,
) -> Trace:
    """Assemble one request's trace."""
    readout, tokenizer, k = reading.readout, model.tokenizer, item.request.top_k
    places = [Place(index, position) for position in item.positions]
    read = PlacesRead(reading, geometry, places)
    top_ids = read.table(readout.top_ids)[..., :k]
    said = Reading(readings.output, readings.index_of, readings.targets)
    leaders = tuple(reading.leaders[reading.index_of[place]] for place in places) if item.request.leaders else None
    led = {i for each in leaders or () for i in each.ids}
    return Trace(
        model=model.info,
        request=item.request,
        prompt=item.text,
        tokens=tokenizer.tokens(item.ids),
        generated=tokenizer.tokens(item.generated),
        lens=lens.name,
        positions=item.positions,
        top_ids=top_ids,
        top_logprobs=read.table(readout.top_logprobs)[..., :k],
        texts={i: tokenizer.text_of(i) for i in sorted({*np.unique(top_ids).tolist(), *led})},
        **{name: measure.take(read) for name, measure in MEASURES.items()},
        answer=join_answers(index, item, item.answers, reading, said) if item.answers else None,
        wrong=join_answers(index, item, (item.wrong,), reading, said) if item.wrong else None,
        tracked=tuple(
            TokenTrace(
                token,
                logprob=np.stack([reading.logprob(place, token.id) for place in places], axis=1),
                rank=np.stack([reading.rank(place, token.id) for place in places], axis=1),
            )
            for token in item.tracked
        ),
        leaders=leaders,
        output=output.top,
        temperatures=output.by_temperature,
        lse=readings.lse(reading, Place(index, item.last), item.request.temperatures),
        checks=checks,
        versions=package_versions(),
        notes=item.notes + lens.notes,
    )
