"""Requests in, traces out: capture, checks, readout and measures, joined."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.models.loading import LoadedModel
from layerwise.readout.kernel import exact_top_k
from layerwise.readout.lenses import lens_named
from layerwise.tracing.answer import join_answer
from layerwise.tracing.checks import Checker, IdentityCheck, head_logits
from layerwise.tracing.reading import Captured, Place, Reading, capture_requests, read_requests
from layerwise.tracing.request import Prepared, Request, prepare
from layerwise.tracing.trace import Checks, TokenTrace, Trace
from layerwise.types import TokenProb


@dataclass(frozen=True)
class _Output:
    """The model's own prediction behind a prompt."""

    source: str
    top: tuple[TokenProb, ...]
    by_temperature: tuple[tuple[float, tuple[TokenProb, ...]], ...]


def trace_requests(
    model: LoadedModel,
    requests: Sequence[Request],
    *,
    lenses: Sequence[str] = ("logit",),
    checker: Checker,
    check_each_length: bool = False,
    on_layer: Callable[[int], None] | None = None,
) -> list[list[Trace]]:
    """Return, per request, its trace through each lens.

    All requests share one pass through the model; what else is in it changes a result by no more
    than float rounding.

    Args:
        model: the model to read.
        requests: prompts, and what to read behind them.
        lenses: names of lenses, all of which read the same captured states.
        checker: remembers which checks this model has passed.
        check_each_length: run the identity check once per prompt length instead of once per model.
        on_layer: called with the number of blocks done, for progress.

    Raises:
        PromptError: a request cannot be turned into tokens.
        CheckError: the numbers are not the model's own.
    """
    chosen = [lens_named(name) for name in lenses]
    prepared = [prepare(model, request) for request in requests]
    captured = capture_requests(model, prepared, on_layer)
    final_places = [captured.at(Place(index, item.last))[0] for index, item in enumerate(prepared)]
    checks = [
        checker.check(model, item.text, item.ids, states, each_length=check_each_length)
        for item, states in zip(prepared, final_places, strict=True)
    ]
    outputs = [
        _own_output(model, item, check, states[-1])
        for item, check, states in zip(prepared, checks, final_places, strict=True)
    ]
    traces: list[list[Trace]] = [[] for _ in prepared]
    for lens in chosen:
        reading = read_requests(model, prepared, captured, lens)
        for index, item in enumerate(prepared):
            report = _report(checks[index], checker, outputs[index].source)
            traces[index].append(_join(model, index, item, lens.name, captured, reading, outputs[index], report))
    return traces


def _own_output(
    model: LoadedModel, item: Prepared, check: IdentityCheck, final_state: Float[Tensor, " d_model"]
) -> _Output:
    """Return the model's prediction: from its own forward if this prompt ran it, else from layer n."""
    ran = check.ids == item.ids
    logits = check.own_logits if ran else head_logits(model, final_state[None])[0]
    tops = [
        _likeliest(model, logits / temperature, item.request.top_k) for temperature in (1.0, *item.request.temperatures)
    ]
    return _Output(
        "own forward" if ran else "layer n",
        tops[0],
        tuple(zip(item.request.temperatures, tops[1:], strict=True)),
    )


def _likeliest(model: LoadedModel, logits: Float[Tensor, " token"], count: int) -> tuple[TokenProb, ...]:
    values, ids = exact_top_k(logits[None], min(count, len(logits)))
    logprobs = (values[0] - logits.logsumexp(-1)).tolist()
    return tuple(
        TokenProb(i, model.tokenizer.text_of(i), math.exp(lp), lp)
        for i, lp in zip(ids[0].tolist(), logprobs, strict=True)
    )


def _report(check: IdentityCheck, checker: Checker, output_source: str) -> Checks:
    return Checks(
        identity_error=check.error,
        identity_limit=check.limit,
        states_error=check.states_error,
        covered_by=check.prompt,
        output_from=output_source,
        device_error=checker.device_error,
    )


def _join(
    model: LoadedModel,
    index: int,
    item: Prepared,
    lens: str,
    captured: Captured,
    reading: Reading,
    output: _Output,
    checks: Checks,
) -> Trace:
    """Assemble one request's trace."""
    readout, tokenizer, k = reading.readout, model.tokenizer, item.request.top_k
    places = [Place(index, position) for position in item.positions]
    states = captured.at(*places).float()
    top_ids = reading.table(readout.top_ids, places)[..., :k]
    return Trace(
        model=model.info,
        prompt=item.text,
        tokens=tokenizer.tokens(item.ids),
        generated=tokenizer.tokens(item.generated),
        lens=lens,
        positions=item.positions,
        top_ids=top_ids,
        top_logprobs=reading.table(readout.top_logprobs, places)[..., :k],
        texts={i: tokenizer.text_of(i) for i in np.unique(top_ids).tolist()},
        entropy_bits=reading.table(readout.entropy_bits, places),
        kl_to_final_bits=reading.table(readout.kl_to_final_bits, places),
        kl_from_final_bits=reading.table(readout.kl_from_final_bits, places),
        kl_from_logit_lens_bits=reading.table(reading.kl_from_logit_lens_bits, places),
        total_variation=reading.table(readout.total_variation, places),
        echo_mass=reading.table(readout.mass, places),
        residual_norm=states.norm(dim=-1).T.cpu().numpy(),
        cosine_to_final=torch.cosine_similarity(states, states[:, -1:], dim=-1).T.cpu().numpy(),
        answer=join_answer(index, item, reading) if item.answers else None,
        tracked=tuple(
            TokenTrace(
                token,
                logprob=np.stack([reading.logprob(place, token.id) for place in places], axis=1),
                rank=np.stack([reading.rank(place, token.id) for place in places], axis=1),
            )
            for token in item.tracked
        ),
        output=output.top,
        temperatures=output.by_temperature,
        checks=checks,
        versions=package_versions(),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on."""
    return {name: version(name) for name in ("layerwise", "torch", "transformers")}
