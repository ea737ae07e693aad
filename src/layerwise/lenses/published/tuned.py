"""Tuned lenses as tuned-lens 0.2.0 keeps them: a folder with config.json and params.pt.

A translator of theirs gives a change: it reads h + W h + b, so that weight decay pulls towards the identity. Their
index l is one into transformers' `hidden_states`, the state that enters block l: our layer l, from 0 to n - 1.
"""

import re
from pathlib import Path
from typing import Any

import torch

from layerwise.errors import LensError
from layerwise.lenses.card import LensCard
from layerwise.lenses.fitted import Translator
from layerwise.lenses.folder import read_json_object
from layerwise.lenses.published.pickled import read_pickled, square, vector
from layerwise.models.machine.cache import remembered_sha256
from layerwise.text import harmless, one_line

CONFIG, PARAMETERS = "config.json", "params.pt"

_NAME = re.compile(r"(0|[1-9]\d{0,5})\.(weight|bias)", re.ASCII)


def is_tuned_lens_folder(path: Path) -> bool:
    """Return whether a folder holds a lens as tuned-lens writes it."""
    return (path / CONFIG).is_file() and (path / PARAMETERS).is_file()


def read_tuned(folder: Path) -> tuple[LensCard, dict[int, Translator]]:
    """Return a lens that tuned-lens wrote: its card, and a translator for each layer.

    Raises:
        LensError: it is damaged, of another kind, or would have to run code.
    """
    config = read_json_object(folder / CONFIG, 1 << 20)
    where = harmless(str(folder / CONFIG))
    kind = config.get("lens_type", "linear_tuned_lens")
    if kind != "linear_tuned_lens":
        raise LensError(f"{where}: lens_type is {one_line(repr(kind), 40)}; expected linear_tuned_lens.")
    width, n_layers = (_size(config, name, where) for name in ("d_model", "num_hidden_layers"))
    translators = _translators(folder / PARAMETERS, width, n_layers)
    model, revision = config.get("base_model_name_or_path"), config.get("base_model_revision")
    card = LensCard(
        method="tuned",
        model=model if isinstance(model, str) and model else None,
        n_layers=n_layers,
        d_model=width,
        layers=tuple(translators),
        tensors_sum=remembered_sha256(folder / PARAMETERS),
        unembedding_sum=None,
        weights_sum=None,
        estimator={"model_revision": revision} if isinstance(revision, str) else {},
        format="tuned-lens",
    )
    return card, translators


def _translators(path: Path, width: int, n_layers: int) -> dict[int, Translator]:
    where, held = harmless(str(path)), read_pickled(path)
    parts: dict[int, dict[str, torch.Tensor]] = {}
    for name, values in held.items():
        found = _NAME.fullmatch(str(name))
        if not found:
            raise LensError(f"{where}: a tuned lens has no {one_line(repr(name), 60)}; expected names like '3.weight'.")
        checked = square if found[2] == "weight" else vector
        parts.setdefault(int(found[1]), {})[found[2]] = checked(values, width, f"{where}: {name}")
    if sorted(parts) != list(range(n_layers)) or not all("weight" in each for each in parts.values()):
        raise LensError(f"{where} has weights of {len(parts)} layers, and {CONFIG} beside it says {n_layers}.")
    identity = torch.eye(width)
    return {
        layer: Translator(identity + each["weight"].float(), each["bias"].float() if "bias" in each else None)
        for layer, each in sorted(parts.items())
    }


def _size(config: dict[str, Any], name: str, where: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 10**6:
        raise LensError(f"{where}: {name} is {one_line(repr(value), 40)}; a tuned lens has a whole number there.")
    return value
