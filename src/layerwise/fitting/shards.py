"""Fits in shards: sums over some of the windows each, on machines of their own, added up afterwards."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from layerwise.errors import LensError
from layerwise.fitting.accumulating import Halves, UsedText, joined
from layerwise.fitting.fit import (
    estimator_maker,
    expect_free,
    finish,
    make_accumulation,
    tell_of,
)
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.listener import Listener
from layerwise.fitting.plan import FitPlan, partial_folder
from layerwise.fitting.sums_folder import Progressed, expect_same_fit, read_state, read_sums, save_sums
from layerwise.fitting.text.windows import FitText
from layerwise.lenses.fitted import FittedLens
from layerwise.models.loading.loaded import LoadedModel
from layerwise.text import harmless


def fit_shard(
    model: LoadedModel, plan: FitPlan, text: FitText, out: Path, shard: tuple[int, int], listener: Listener
) -> None:
    """Write the sums over one shard of the text to a folder, for `merge_shards`.

    Args:
        model: whose lens is fitted.
        plan: the same for all shards.
        text: all of it, the same for all shards.
        out: where the sums go.
        shard: which, from 1 on, and of how many.
        listener: told of the fit on its way.

    Raises:
        LensError: this method has no sums, or there are fewer windows than shards.
        StoreError: the folder cannot be written.
    """
    index, count = shard
    if plan.until is not None:
        raise LensError("A shard takes all of its text, for it knows nothing of the others: leave --until out.")
    if count > min(len(half) for half in text.halves):
        raise LensError(
            f"{count} shards are more than there are windows in each half of the text "
            f"({min(len(half) for half in text.halves)}). Make fewer, or give more text."
        )
    first, second = (half.shard(index - 1, count) for half in text.halves)
    whole = make_accumulation(model, plan, text, HeldOut(model, text.held_out.ids, plan.seed))
    mine = replace(whole, text=replace(text, halves=(first, second)), key={**whole.key, "shard": [index, count]})
    partial = partial_folder(out)
    tell_of(text, partial, listener)
    halves, _ = mine.gathered(partial, progress=listener.progress, on_estimate=listener.on_estimate)
    more = {
        "shard": [index, count],
        "plan": asdict(plan),
        "used": asdict(UsedText.of(mine.text, halves.done)),
        "held_out": {"ids": text.held_out.ids.tolist(), "described": text.held_out.described()},
    }
    save_sums(out, halves.progressed(whole.key, more), halves.estimators)
    shutil.rmtree(partial, ignore_errors=True)


def merge_shards(
    model: LoadedModel, folders: Sequence[Path], out: Path, listener: Listener | None = None
) -> FittedLens:
    """Add up the sums of all shards of a fit, and write the lens that follows.

    Raises:
        LensError: they are shards of different fits or of another model, or some are missing.
        StoreError: the folder cannot be written.
    """
    listener = listener or Listener()
    expect_free(out)
    states = [read_state(folder) for folder in folders]
    for folder, state in zip(folders, states, strict=True):
        expect_same_fit(folder, state.key, states[0].key)
    _expect_every_shard(folders, states)
    here = model.identified().weights_sum
    expect_same_fit(folders[0], {"weights": states[0].key.get("weights")}, {"weights": here})
    told = states[0].more["plan"]
    plan = FitPlan(**{**told, "layers": tuple(told["layers"])})
    held = states[0].more["held_out"]
    held_out = HeldOut(model, torch.tensor(held["ids"]), plan.seed)
    halves = _added_up(model, plan, folders, states)
    used = [UsedText(**state.more["used"]) for state in states]
    found = joined(plan, halves, held_out, UsedText.together(used))
    return finish(model, plan, found, held_out, held["described"], out, listener)


def _expect_every_shard(folders: Sequence[Path], states: Sequence[Progressed]) -> None:
    try:
        shards = [(int(index), int(count)) for index, count in (state.more["shard"] for state in states)]
    except (KeyError, TypeError, ValueError):
        raise LensError(
            "Some of these folders hold no shard but a fit that was interrupted. Go on with it by the command that "
            "it was begun with."
        ) from None
    count = shards[0][1]
    if len({*shards}) < len(shards) or any(each != count for _, each in shards):
        listed = ", ".join(f"{harmless(str(f))}: {i}/{n}" for f, (i, n) in zip(folders, shards, strict=True))
        raise LensError(f"Each shard counts once, and all are of one division; got {listed}.")
    if missing := sorted({*range(1, count + 1)} - {index for index, _ in shards}):
        raise LensError(
            f"Of {count} shards these are missing: {', '.join(map(str, missing))}. Fit them (--shard "
            f"{missing[0]}/{count}), and merge all together."
        )


def _added_up(model: LoadedModel, plan: FitPlan, folders: Sequence[Path], states: Sequence[Progressed]) -> Halves:
    """Return the sums of all shards, in the order of the shards: the order of folders changes no digit."""
    of = estimator_maker(model, plan)
    halves = Halves((of(), of()), states[0].batch)
    ordered = sorted(zip((state.more["shard"][0] for state in states), folders, strict=True))
    for _, folder in ordered:
        for estimator, sums in zip(halves.estimators, read_sums(folder), strict=True):
            estimator.sums.include(sums)
    for state in states:
        halves.count(state.done)
    return halves
