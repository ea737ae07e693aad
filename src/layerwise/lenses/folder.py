"""A fitted lens on disk.

LENS/lens.json                  its card (`LensCard`), and the schema's number
LENS/translators.safetensors    ``layer.3.matrix`` [d, d] and, of an affine one, ``layer.3.bias`` [d]; or instead of the
                                matrix A the factors ``layer.3.left`` [d, r] and ``layer.3.right`` [r, d], for
                                A = I + left · right. In float32, float16 or bfloat16; read in float32.

Only reading or writing the numbers needs PyTorch; the card does not.
"""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from layerwise.errors import CorruptFileError, LensError, StoreError
from layerwise.files import sha256_of, written_whole
from layerwise.lenses.card import LensCard
from layerwise.models.machine.cache import remembered_sha256
from layerwise.models.weights.safetensors_header import read_safetensors_header
from layerwise.models.weights.weight_files import StoredTensor, WeightFiles
from layerwise.text import first_fault, harmless, one_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layerwise.lenses.fitted import LowRankTranslator, Translator, Translators

SCHEMA = 1
CARD, TENSORS = "lens.json", "translators.safetensors"

_CARD_LIMIT = 4 << 20
"""Bytes of a card. Figures by layer of a large model take some kilobytes."""

_NAME = re.compile(r"layer\.(0|[1-9]\d{0,5})\.(matrix|bias|left|right)", re.ASCII)
_PARTS = ({"matrix"}, {"matrix", "bias"}, {"left", "right"}, {"left", "right", "bias"})
_DTYPES = ("float32", "float16", "bfloat16")


def is_lens_folder(path: Path) -> bool:
    """Return whether a folder holds a lens in layerwise's own form."""
    return (path / CARD).is_file()


def read_card(folder: Path) -> LensCard:
    """Return the card of the lens in a folder, once the file of its numbers is the one that the card tells of.

    Raises:
        LensError: there is no such lens, or it is damaged or of an unknown form; says what was expected.
    """
    card = _card(folder / CARD)
    tensors = _header(folder / TENSORS)
    found = remembered_sha256(folder / TENSORS)
    if found != card.tensors_sum:
        raise LensError(
            f"{_shown(folder / TENSORS)} has the sum {found[:12]}…, and {CARD} beside it is of a file with "
            f"{card.tensors_sum[:12]}…: the numbers were changed, or come from another fit. {_AGAIN}"
        )
    _expect_as_told(tensors, card, folder)
    return card


def read_lens(folder: Path) -> tuple[LensCard, "dict[int, Translator | LowRankTranslator]"]:
    """Return the lens in a folder: its card, and its translators in the precision that they are stored in.

    Raises:
        LensError: as `read_card`; or a number is not finite.
    """
    import torch

    from layerwise.lenses.fitted import LowRankTranslator, Translator

    card, path = read_card(folder), folder / TENSORS
    tensors = _header(path)
    try:
        files = WeightFiles([path])
        by_layer: dict[int, dict[str, Tensor]] = {}
        for name, stored in tensors.items():
            layer, part = _layer_and_part(name)
            values = torch.empty(stored.shape, dtype=getattr(torch, stored.dtype))
            files.read(stored, values.view(-1).view(torch.uint8).numpy().data)
            _expect_finite(values, f"{_shown(path)}: {name}")
            by_layer.setdefault(layer, {})[part] = values
    except CorruptFileError as error:
        raise LensError(str(error)) from error
    kinds = {True: Translator, False: LowRankTranslator}
    return card, {layer: kinds["matrix" in by_layer[layer]](**by_layer[layer]) for layer in card.layers}


def save_lens(folder: Path, card: LensCard, translators: "Translators", dtype: str = "float16") -> LensCard:
    """Write a lens to a folder, whole or not at all, and return its card with the sum of the file of numbers.

    A lens that is in the folder is replaced. Nothing else is: a folder with other files in it is refused.

    Args:
        folder: where it will lie.
        card: what is known of it; its `layers` and `tensors_sum` become those of what is written.
        translators: by layer.
        dtype: ``float16`` (half the size, and a relative error of at most 2⁻¹¹), ``float32`` or ``bfloat16``.

    Raises:
        LensError: a number is not finite, or is not in the range of `dtype`.
        StoreError: the folder cannot be written, or holds something else than a lens.
    """
    if others := _others_in(folder):
        raise StoreError(
            f"{_shown(folder)} holds {one_line(others[0])!r}, which is no part of a lens and would be lost. Give a "
            "folder that is empty or does not exist yet."
        )
    try:
        with written_whole(folder) as scratch:
            scratch.mkdir()
            with (scratch / TENSORS).open("wb") as opened:
                _write_tensors(opened, translators, dtype)
            card = replace(card, layers=tuple(sorted(translators)), tensors_sum=sha256_of(scratch / TENSORS))
            told = {"schema": SCHEMA, **asdict(card)}
            (scratch / CARD).write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"The lens could not be written to {_shown(folder)}: {error.strerror or error}. What was there before is "
            "as it was; make room or permissions, or choose another folder."
        ) from error
    return card


_AGAIN = "Fit it again, or copy it again from where it came from."


def _card(path: Path) -> LensCard:
    """Return a card by what stands in its own file."""
    from pydantic import TypeAdapter, ValidationError

    told = read_json_object(path, _CARD_LIMIT)
    if told.get("schema") != SCHEMA:
        raise LensError(
            f"{_shown(path)} is of schema {one_line(repr(told.get('schema')), 40)}, and this version of layerwise "
            f"reads schema {SCHEMA}. Update layerwise, or fit the lens again with this version."
        )
    try:
        card = TypeAdapter(LensCard).validate_json(json.dumps(told), strict=True)
        card.expect_sane()
    except ValidationError as error:
        raise LensError(f"{_shown(path)} is no card of a lens: {first_fault(error)}. {_AGAIN}") from error
    except ValueError as error:
        raise LensError(f"{_shown(path)} is no card of a lens: {error}. {_AGAIN}") from error
    return card


def read_json_object(path: Path, limit: int) -> dict[str, Any]:
    """Return the object in a small JSON file that anybody may have written. Raises LensError."""
    try:
        with path.open("rb") as opened:
            text = opened.read(limit + 1)
        if len(text) > limit:
            raise LensError(f"{_shown(path)} has more than {limit:,} bytes, which no card of a lens has. {_AGAIN}")
        told = json.loads(text, parse_constant=_no_number)
    except OSError as error:
        raise LensError(f"{_shown(path)} cannot be read: {error.strerror or error}. Check the lens's path.") from error
    except (ValueError, RecursionError) as error:
        raise LensError(f"{_shown(path)} is not JSON in UTF-8, or too deep. {_AGAIN}") from error
    if not isinstance(told, dict):
        raise LensError(f"{_shown(path)} holds a {type(told).__name__}, and a card is a JSON object. {_AGAIN}")
    return told


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number that JSON has")


def _header(path: Path) -> dict[str, StoredTensor]:
    try:
        return read_safetensors_header(path)
    except CorruptFileError as error:
        raise LensError(f"{str(error).removesuffix(' Download it again.')} {_AGAIN}") from error


def _layer_and_part(name: str) -> tuple[int, str]:
    found = _NAME.fullmatch(name)
    if not found:
        raise LensError(f"A lens has no tensor {one_line(repr(name), 60)}; expected names like 'layer.3.matrix'.")
    return int(found[1]), found[2]


def _expect_as_told(tensors: dict[str, StoredTensor], card: LensCard, folder: Path) -> None:
    """Stop where the tensors are not those of the card's layers, in its width."""
    by_layer: dict[int, dict[str, StoredTensor]] = {}
    for name, stored in tensors.items():
        layer, part = _layer_and_part(name)
        by_layer.setdefault(layer, {})[part] = stored
    where = _shown(folder / TENSORS)
    if by_layer.keys() != set(card.layers):
        unlike = sorted(by_layer.keys() ^ set(card.layers))
        raise LensError(
            f"{where} and {CARD} differ in the layers {_listed(unlike)}: one has them and not the other. {_AGAIN}"
        )
    d = card.d_model
    for layer, parts in by_layer.items():
        rank = parts["right"].shape[0] if "right" in parts and parts["right"].shape else 0
        shapes = {"matrix": (d, d), "bias": (d,), "left": (d, rank), "right": (rank, d)}
        if parts.keys() not in _PARTS:
            raise LensError(
                f"{where}: layer {layer} has {' and '.join(sorted(parts))}; expected a matrix, or left and right, and "
                f"perhaps a bias. {_AGAIN}"
            )
        for part, stored in parts.items():
            if stored.shape != shapes[part] or stored.dtype not in _DTYPES:
                raise LensError(
                    f"{where}: {stored.name} is {one_line(stored.dtype)} {list(stored.shape[:4])}; expected a float of "
                    f"{list(shapes[part])}, for the card says that d_model is {d}. {_AGAIN}"
                )


def _listed(layers: list[int]) -> str:
    return ", ".join(map(str, layers[:8])) + (", …" if len(layers) > 8 else "")


def _expect_finite(values: "Tensor", what: str) -> None:
    if not bool(values.isfinite().all()):
        raise LensError(f"{what} holds NaN or infinite numbers, so all that is read through it would be. {_AGAIN}")


def _others_in(folder: Path) -> list[str]:
    """Return what is in a folder, if it exists, beside a lens."""
    if not folder.is_dir():
        return []
    try:
        return sorted(each.name for each in folder.iterdir() if each.name not in (CARD, TENSORS))
    except OSError as error:
        raise StoreError(f"{_shown(folder)} cannot be read: {error.strerror or error}.") from error


def _write_tensors(opened: BinaryIO, translators: "Translators", dtype: str) -> None:
    import torch

    from layerwise.models.weights.safetensors_writer import write_safetensors

    stored: torch.dtype = getattr(torch, dtype)
    tensors = {
        f"layer.{layer}.{part}": tensor
        for layer, translator in sorted(translators.items())
        for part, tensor in translator.tensors.items()
    }
    layout = {name: (tuple(tensor.shape), stored) for name, tensor in tensors.items()}
    write_safetensors(opened, layout, (_lowered(name, tensor, stored) for name, tensor in tensors.items()))


def _lowered(name: str, tensor: "Tensor", dtype: "torch.dtype") -> "Tensor":
    values = tensor.to("cpu", dtype)
    if not bool(values.isfinite().all()):
        named = str(dtype).removeprefix("torch.")
        fits = "" if not bool(tensor.isfinite().all()) else f" in {named}: they are too large for it. Use float32"
        raise LensError(f"{name} holds NaN or infinite numbers{fits}. Nothing was written.")
    return values


def _shown(path: Path) -> str:
    return harmless(str(path))
