"""The original of a case: random weights drawn so that every setting shows in the logits."""

import copy
import inspect
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.gguf.case import Case
from benchmarks.gguf.vocabulary import VOCABULARY, tokenizer
from benchmarks.tiny import tiny_config

_SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "num_hidden_layers": 3,
    "max_position_embeddings": 1024,  # more than the longest text
    "sliding_window": 16,  # less than the second text
    "layer_types": None,
}


def build(case: Case, settings: dict[str, Any] | None = None) -> Any:
    """Return the case's model in transformers, float32; under other settings, if they are given, with the same draw."""
    config_class = getattr(transformers, case.config)
    known = {*inspect.signature(config_class.__init__).parameters, *getattr(config_class, "attribute_map", {})}
    sizes = {name: size for name, size in _SIZES.items() if name in known}
    asked = copy.deepcopy(case.settings if settings is None else settings)  # configurations change what they are given
    config = tiny_config(config_class, **sizes | asked)
    torch.manual_seed(7)  # some one-dimensional parameters begin at random
    hf_model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    _draw(hf_model)
    return hf_model


def reference(case: Case, original: Any) -> Any:
    """Return the model that the case's file describes: the original's weights under the settings that are in it."""
    if not case.lost:
        return original
    told = build(case, case.read_settings)
    told.load_state_dict(original.state_dict(), strict=True)
    return told


def save(hf_model: Any, folder: Path) -> Path:
    """Return `folder` with the checkpoint in the hub's layout."""
    hf_model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def _draw(hf_model: Any) -> None:
    """Give every weight a value of its own.

    Gains come out far from 1 and biases far from 0. The queries' products with the keys spread over a few units, so
    that attention neither is the same everywhere nor rests on one token: windows, rotary angles and scales all show.
    """
    draw = torch.Generator().manual_seed(7)
    tables = {id(each.weight) for each in (hf_model.get_input_embeddings(), hf_model.get_output_embeddings())}
    persistent = {*hf_model.state_dict()}
    buffers = [(name, buffer) for name, buffer in hf_model.named_buffers() if name in persistent]
    with torch.no_grad():
        for name, weight in [*hf_model.named_parameters(), *buffers]:
            if not weight.is_floating_point() or name.endswith("A_log"):
                continue  # decay rates of state spaces, which must stay moderate
            if weight.dim() < 2:
                weight.add_(torch.empty_like(weight).uniform_(-0.5, 0.6, generator=draw))
            elif id(weight) in tables:
                weight.normal_(0.0, 0.2, generator=draw)
            else:
                weight.normal_(0.0, 1.2 / weight.shape[-1] ** 0.5, generator=draw)
