"""Patchscopes: a state of one prompt put into another, which makes the model say what is in it.

Ghandeharioun et al. 2024, arXiv:2401.06102. The target prompt that is used by default is theirs for reading a token:
examples of words that are repeated, and a placeholder that the state is put at.
"""

import re
from collections.abc import Sequence
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.cells import Cell
from layerwise.capture.edited_generation import generate_side_by_side
from layerwise.causal.alignment import positions_of
from layerwise.causal.asked_prompt import AskedPrompt
from layerwise.causal.outcomes import last_states
from layerwise.causal.scoped import Patchscope, Said, ScopedState
from layerwise.causal.sources import values_at
from layerwise.causal.spec_cells import cells_of
from layerwise.errors import CheckError, EditError, PromptError
from layerwise.interventions import changes
from layerwise.interventions.specs import Patch
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import LogitLens
from layerwise.sites import Site
from layerwise.tracing.model import Model
from layerwise.tracing.positions import chosen_positions
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Answered, Request
from layerwise.types import Progress, Token, TokenProb
from layerwise.versions import package_versions

PLACEHOLDER = "?"

IDENTITY = f"cat -> cat; 1135 -> 1135; hello -> hello; {PLACEHOLDER} ->"
"""The target that makes a model repeat a token."""

SAME = "same"
"""Each layer's state is put at that layer."""


def patchscope(
    model: Model,
    prompt: str,
    position: str | int = "last",
    *,
    target: str = IDENTITY,
    at: str | int = PLACEHOLDER,
    layers: str = "all",
    to_layers: str = SAME,
    answer: Answered | None = None,
    generate: int = 0,
    top_k: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Patchscope:
    """Return what a target prompt says of a prompt's states, one after another.

    The state at a layer and position of the prompt takes the place of the target's, at a layer and position; what the
    model says after the target is then read. Each is the edit of a trace of the target (`ScopedState.edit`), and all
    run side by side. Beside each stand placebos: the state of the same layer at another position of the prompt, drawn
    at random and not the first, and a random direction of the same norm.

    Args:
        model: what `layerwise.load` returns.
        prompt: whose states are taken.
        position: of the prompt: ``last``, an index, or a part of its text, whose last token it is.
        target: the prompt that they are put into.
        at: the position there that is replaced, in the same ways.
        layers: whose states are taken: ``all`` that can be read, or indices and slices as in ``0,3:5,-1``.
        to_layers: at which they are put: ``same``, or in the same ways, each layer's state at each of them.
        answer: what the target is hoped to say, usually with a leading space.
        generate: let the model go on for so many tokens after the target.
        top_k: how many of the likeliest tokens to keep.
        seed: of the placebos.
        progress: called with (what, done, total).

    Raises:
        PromptError: a prompt, position, layer or answer cannot be used.
        EditError: a state would be put where nothing reads it.
        CheckError: the model's numbers did not pass the checks.
    """
    asks = Request(target, () if answer is None else (answer,), top_k=top_k, generate=generate)
    with model.computing() as loaded:
        source, aim = prepare(loaded, Request(prompt)), prepare(loaded, asks)
        model.expect_checked([source.ids, aim.ids], progress)
        read = AskedPrompt.of(aim) if aim.answers else None
        ids = read.ids if read else aim.ids
        mine = _place(loaded.tokenizer, source.ids, position, "position")
        there = _place(loaded.tokenizer, aim.ids, at, "at")
        pairs = _pairs(loaded.n_layers, layers, to_layers, is_last=there == len(ids) - 1)
        others = [other for other in range(1, len(source.ids)) if other != mine]
        elsewhere = Random(seed).choice(others) if others else None

        def patches(of_position: int) -> list[Patch]:
            at_position = str(of_position)
            return [Patch(f"layer {to}", str(there), prompt, at_position, f"layer {layer}") for layer, to in pairs]

        own, placebo = patches(mine), [] if elsewhere is None else patches(elsewhere)
        cells = cells_of(loaded, asks, ids, [(each,) for each in (*own, *placebo)], progress)
        cells += _random_cells(loaded, source.ids, mine, there, pairs, seed)
        answered = read.answer if read else None
        *said, unpatched = _read(loaded, ids, cells, answered, top_k, progress)
        count = len(pairs)
        texts = _generated(loaded, ids, cells[:count], generate, progress)
        return Patchscope(
            model=loaded.info,
            prompt=loaded.tokenizer.tokens(source.ids),
            position=mine,
            elsewhere=elsewhere,
            target=loaded.tokenizer.tokens(ids),
            at=there,
            answer=answered,
            unpatched=unpatched,
            states=tuple(
                ScopedState(
                    *pair,
                    edit=own[index],
                    said=said[index],
                    elsewhere=said[count + index] if placebo else None,
                    random=said[-count + index],
                    generated=texts[index],
                )
                for index, pair in enumerate(pairs)
            ),
            seed=seed,
            versions=package_versions(),
        )


def _place(tokenizer: Tokenizer, ids: tuple[int, ...], given: str | int, name: str) -> int:
    """Return the one position that is meant by an index, ``last``, or a part of the text. Raises PromptError."""
    if re.fullmatch(r"last|-?\d+", str(given)):
        return chosen_positions(str(given), len(ids))[0]
    return positions_of(tokenizer, ids, str(given), name)[-1]


def _pairs(n_layers: int, layers: str, to_layers: str, *, is_last: bool) -> list[tuple[int, int]]:
    """Return whose state is put where. What is put at the last layer is read at the last position only."""

    def chosen(wanted: str, count: int) -> Sequence[int]:
        try:
            return list(dict.fromkeys(chosen_positions(wanted, count)))
        except PromptError as error:
            raise PromptError(
                f"Layers {wanted!r} are none of this model's, 0 to {n_layers}. Expected all, or indices and slices as "
                "in 0,3:5,-1."
            ) from error

    readable, every = n_layers + is_last, n_layers + 1
    same = to_layers == SAME
    sources = chosen(layers, readable if same and layers == "all" else every)
    if same:
        pairs = [(layer, layer) for layer in sources]
    else:
        targets = chosen(to_layers, readable if to_layers == "all" else every)
        pairs = [(layer, to) for layer in sources for to in targets]
    if any(to >= readable for _, to in pairs):
        raise EditError(
            f"A state that is put at layer {n_layers}, after the last block, is read at the target's last position only"
            ": put it there (at='last', --at last), or at a layer before."
        )
    return pairs


def _random_cells(
    model: LoadedModel, ids: tuple[int, ...], position: int, at: int, pairs: Sequence[tuple[int, int]], seed: int
) -> list[Cell]:
    """Return cells that put random directions where states are put, of these states' norms."""
    layers = [Site.at_layer(layer) for layer in dict.fromkeys(layer for layer, _ in pairs)]
    states = values_at(model, ids, (), layers)
    generator = torch.Generator().manual_seed(seed)
    made: list[Cell] = []
    for layer, to in pairs:
        state = states[str(Site.at_layer(layer))][position]
        away = changes.moved_at_random(torch.zeros_like(state), state, generator)
        made.append(Cell((changes.put(Site.at_layer(to), away[None], [at]),), at))
    return made


def _read(
    model: LoadedModel,
    ids: tuple[int, ...],
    cells: Sequence[Cell],
    answer: Token | None,
    top_k: int,
    progress: Progress | None,
) -> list[Said]:
    """Return what each cell says at the end, and last of all what the text does as it is."""
    of_cells, of_text = last_states(model, ids, cells, progress=progress)
    states: Float[Tensor, "run state d_model"] = torch.cat([of_cells, of_text[None]])[:, None]
    readout = read_out(
        states,
        model.output_head,
        rows_of=lambda some: LogitLens().rows(some, model.output_head),
        top_k=top_k,
        targets=[[answer.id] if answer else []] * len(states),
        progress=progress,
    )
    if not bool(readout.entropy_bits.isfinite().all()):
        raise CheckError("A patched run gives NaN or infinite numbers. Run with --dtype float32.")
    text_of = model.tokenizer.text_of
    return [
        Said(
            tuple(
                TokenProb(token, text_of(token), float(torch.tensor(logprob).exp()), logprob)
                for token, logprob in zip(
                    readout.top_ids[run, 0].tolist(), readout.top_logprobs[run, 0].tolist(), strict=True
                )
            ),
            float(readout.target_logprobs[run, 0, 0]) if answer else None,
            int(readout.target_ranks[run, 0, 0]) if answer else None,
        )
        for run in range(len(states))
    ]


def _generated(
    model: LoadedModel, ids: tuple[int, ...], cells: Sequence[Cell], count: int, progress: Progress | None
) -> list[str] | list[None]:
    """Return what each cell goes on with, if it was asked to."""
    if not count:
        return [None] * len(cells)
    made = generate_side_by_side(model, ids, count, [cell.edits for cell in cells], progress)
    return [model.tokenizer.decode(tokens) for tokens in made]
