"""Jacobian lenses as `jlens` and TransformerLens keep them: the finished lens, and a fit's checkpoint.

Their index l is the output of block l, which is our layer l + 1. Their n - 1, the last block's output, needs no matrix,
and our layer 0, which enters the first block, has none there.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from layerwise.errors import LensError, StoreError
from layerwise.files import written_whole
from layerwise.lenses.card import LensCard
from layerwise.lenses.fitted import Translator, Translators
from layerwise.lenses.published.pickled import read_pickled, square
from layerwise.models.machine.cache import remembered_sha256
from layerwise.text import harmless, one_line

_METHODS = {"jacobian_lens": "jacobian", "r_lens": "r"}
"""By `estimator` in the metadata. TransformerLens 4.3 has the first alone, `jlens` none; the second is ours."""

_OWN = "layerwise"
"""Under this name our own files tell what else is known."""


def read_jacobian(path: Path) -> tuple[LensCard, dict[int, Translator]]:
    """Return a published Jacobian lens: its card, and a matrix for each of our layers 1 to n - 1 that it has.

    Raises:
        LensError: the file is not one, is damaged, or would have to run code.
    """
    held, where = read_pickled(path), harmless(str(path))
    matrices, count = _matrices(held, where)
    metadata = {**_texts_and_numbers(held), **_texts_and_numbers(held.get("metadata"))}
    width = _whole_number(held.get("d_model", len(next(iter(matrices.values())))), f"{where}: d_model", least=1)
    own = metadata.get(_OWN)
    own = own if isinstance(own, dict) else {}
    translators = {
        index + 1: Translator(square(matrix, width, f"{where}: the matrix of block {index}") / count)
        for index, matrix in sorted(matrices.items())
    }
    card = LensCard(
        method=_method(metadata, where),
        model=_text(own.get("model") or metadata.get("model_name")),
        n_layers=_blocks(metadata.get("target_layer"), sorted(matrices), where),
        d_model=width,
        layers=tuple(translators),
        tensors_sum=remembered_sha256(path),
        unembedding_sum=_text(own.get("unembedding_sum")),
        weights_sum=_text(own.get("weights_sum")),
        estimator={name: metadata[name] for name in ("skip_first", "skip_first_positions") if name in metadata},
        text={"windows": held.get("n_prompts", held.get("n_done")), "corpus": metadata.get("corpus")},
        format="TransformerLens" if metadata.get("transformer_lens_fit") else "jlens",
    )
    return card, translators


def save_jacobian_artefact(path: Path, card: LensCard, translators: Translators, dtype: str = "float16") -> None:
    """Write a Jacobian or R lens as the file that `jlens` and TransformerLens's `JacobianLens.load` read.

    Our layer k becomes index k - 1. Layer 0 has no place there and is left out. The model's name is not written where
    TransformerLens looks for it: it would refuse the lens for a model that it calls otherwise.

    Args:
        path: where to write it, usually ending in ``.pt``.
        card: of the lens.
        translators: by layer, without biases.
        dtype: ``float16``, as published lenses have it, or ``float32``.

    Raises:
        LensError: the lens is of another kind, or its numbers have no place in such a file.
        StoreError: the file cannot be written.
    """
    names = {method: name for name, method in _METHODS.items()}
    if card.method not in names or any(each.bias is not None for each in translators.values()):
        raise LensError(
            f"A {card.method} lens {'' if card.method not in names else 'with a bias '}has no place in a file "
            "of Jacobian lenses, which holds one matrix per layer. Publish the lens's own folder."
        )
    matrices = {
        layer - 1: _stored(translator.whole(), dtype, layer)
        for layer, translator in sorted(translators.items())
        if layer
    }
    metadata: dict[str, Any] = {"estimator": names[card.method], _OWN: _plain(asdict(card))}
    if card.n_layers:
        metadata["target_layer"] = card.n_layers - 1
    count = card.text.get("windows")
    payload = {
        "J": matrices,
        "n_prompts": count if isinstance(count, int) else 0,
        "source_layers": list(matrices),
        "d_model": card.d_model,
        "metadata": metadata,
    }
    try:
        with written_whole(path) as scratch:
            torch.save(payload, scratch)
    except (OSError, RuntimeError) as error:  # torch.save's own writer knows only the latter
        raise StoreError(f"The lens could not be written to {harmless(str(path))}: {error}. Make room.") from error


def _matrices(held: dict[Any, Any], where: str) -> tuple[dict[int, Any], int]:
    """Return the file's matrices by block, and what they are to be divided by."""
    key = "J" if "J" in held else "jacobian_sum"
    matrices = held.get(key)
    if not isinstance(matrices, dict) or not matrices:
        raise LensError(
            f"{where} is no Jacobian lens: expected a dictionary J of matrices by block, or a fit's jacobian_sum with "
            f"n_done; it has {one_line(', '.join(map(str, held)), 120) or 'nothing'}."
        )
    count = 1 if key == "J" else _whole_number(held.get("n_done", held.get("n_prompts")), f"{where}: n_done", least=1)
    by_block = {_whole_number(index, f"{where}: a block's index"): matrix for index, matrix in matrices.items()}
    named = held.get("source_layers")
    if named is not None and sorted(named) != sorted(by_block):
        raise LensError(f"{where}: source_layers are not the layers that it has matrices of. Download it again.")
    if not all(isinstance(each, torch.Tensor) and each.dim() == 2 for each in by_block.values()):
        raise LensError(f"{where}: expected a matrix for every block.")
    return by_block, count


def _method(metadata: Mapping[str, Any], where: str) -> str:
    estimator = metadata.get("estimator", "jacobian_lens")
    if estimator not in _METHODS:
        raise LensError(
            f"{where} was fitted by {one_line(repr(estimator), 60)}, which this version of layerwise does not know; it "
            f"knows {', '.join(_METHODS)}. Update layerwise."
        )
    return _METHODS[estimator]


def _blocks(target: Any, indices: list[int], where: str) -> int | None:
    """Return how many blocks the model has, if the target is its last: that is compared where the lens is used."""
    if target is not None and target != -1:
        blocks = _whole_number(target, f"{where}: target_layer") + 1
        if indices[-1] >= blocks - 1:
            raise LensError(f"{where} has a matrix of block {indices[-1]}, and its target is block {blocks - 1}.")
        return blocks
    # A whole fit has all blocks but the last.
    return len(indices) + 1 if indices == list(range(len(indices))) else None


def _stored(matrix: torch.Tensor, dtype: str, layer: int) -> torch.Tensor:
    stored = matrix.detach().to("cpu", getattr(torch, dtype)).contiguous()
    if not bool(stored.isfinite().all()):
        raise LensError(f"The matrix of layer {layer} holds numbers that {dtype} has not. Use float32.")
    return stored


def _texts_and_numbers(values: Any) -> dict[str, Any]:
    """Return what is no tensor of a dictionary with texts as keys."""
    if not isinstance(values, dict):
        return {}
    return {k: v for k, v in values.items() if isinstance(k, str) and isinstance(v, str | int | float | dict)}


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples, as files that are opened without code have them."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole_number(value: Any, what: str, least: int = 0) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 7 else value
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 10**7:
        raise LensError(f"{what} is {one_line(repr(value), 40)}; expected a whole number of at least {least}.")
    return number
