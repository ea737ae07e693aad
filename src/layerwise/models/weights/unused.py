"""What a checkpoint's files hold beyond what its model takes up: left aside, named, or refused."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from layerwise.errors import CorruptFileError
from layerwise.models.anatomy.decoder import Parts
from layerwise.models.weights.weight_files import StoredTensor, WeightFiles
from layerwise.text import harmless

_COMPUTED = re.compile(
    r"(^|\.)(original_)?inv_freq$|(^|\.)(cos|sin)_cached$|(^|\.)position_ids$|(^|\.)masked_bias$|(^|\.)num_batches_tracked$"
)
"""Buffers that older versions of transformers stored and models compute by themselves."""

_ELSEWHERE = re.compile(r"vision|visual|image|audio|video|speech|(^|_)(mm|multi_modal|multimodal|mtp|nextn)(_|$)")
"""Towers beside the language model, and blocks that predict further tokens ahead."""

_WRAPPERS = re.compile(r"^((module|_orig_mod|base_model|model|language_model|text_model|transformer)\.)+")
"""What programs put in front of all names: for training, compiling, adapters, images, or in older versions."""

_ADAPTER = re.compile(r"(^|\.)(lora_\w+|base_layer|modules_to_save|adapters?|prompt_(encoder|embeddings?))(\.|$)")
"""What an adapter that was not merged adds to the names of a model's weights."""

_PARTS_OF_A_DECODER = {
    "adapter": re.compile(r"^(adapters?|prompt_(encoder|embeddings?))$"),
    "block": re.compile(r"^(h|layers?|blocks?)$"),
    "embedding": re.compile(r"^(wte|(tok(en)?|word)_embeddings?|embed_(in|tokens)|(input_)?embeddings?)$"),
    "projection": re.compile(r"^(project_(in|out)|(embed\w*|out(put)?)_proj\w*)$"),
    "norm": re.compile(r"norm|(^|_)ln(_|\d|$)"),
    "scale": re.compile(r"scale|multiplier|soft_?cap"),
    "head": re.compile(r"^(lm_head|head|output|output_layer|embed_out|unembed\w*|\w*logits?\w*|bias)$"),
    "position table": re.compile(r"^(wpe|\w*(embed|embeddings?)_?pos\w*|pos(itions?)?_\w*)$"),
}
"""What the first part of a name that a model has no module for says that it is."""

_PIECE = 16 << 20
"""Bytes of two tensors that are compared at a time."""


@dataclass(frozen=True)
class Unused:
    """A stored tensor without a place in the model."""

    name: str
    parameter: str
    """What it would be called in the model."""
    shape: tuple[int, ...]


def expect_all_used(
    hf_model: Any, parts: Parts, unused: Iterable[Unused], settings: str, ahead: Iterable[str] = ()
) -> list[str]:
    """Return the names of unused tensors that change no prediction, apart from those that models compute by themselves.

    Args:
        hf_model: the model that its settings describe.
        parts: its parts.
        unused: what stands in the files and has no place in it.
        settings: the file that holds the settings, as it is shown.
        ahead: parameters' names of blocks after the last one that the settings count.

    Raises:
        CorruptFileError: one of them belongs to a block, a norm, a head, a scale or an embedding.
    """
    left_out = hf_model._keys_to_ignore_on_load_unexpected or ()
    expected_ahead, needed, told = set(ahead), dict[str, str](), list[str]()
    where = _Where(hf_model, parts)
    for tensor in sorted(unused, key=lambda each: each.name):
        if tensor.parameter in expected_ahead or _is_computed(tensor):
            continue
        place = where.of(tensor.parameter)
        known = [pattern for pattern in left_out if re.search(pattern, tensor.parameter)]
        # In a block, "attn.bias" stands for a mask, and "layers.61" for a block that this model may well have.
        if place and not (known and not place.startswith("block") and "bias" not in tensor.parameter):
            needed[tensor.name] = place
        elif not known:
            told.append(tensor.name)
    if needed:
        name, place = next(iter(needed.items()))
        raise CorruptFileError(
            f"{len(needed)} of the stored weights would be left out ({', '.join(map(harmless, list(needed)[:3]))}"
            f"{', …' if len(needed) > 3 else ''}): by {settings}, {type(hf_model).__name__} has no place for them, and "
            f"{harmless(name)} belongs to its {place}. Every prediction would be that of another model. "
            f"{_advice(needed)}"
        )
    return told


def _advice(needed: Iterable[str]) -> str:
    if any(_ADAPTER.search(name) for name in needed):
        return (
            "These are an adapter's, beside weights that do not have it in them. Merge it and save the whole: "
            "`merge_and_unload()` in peft, then `save_pretrained(…)`."
        )
    return (
        "Settings were lost (biases, norms, or the quantization_config that scales belong to), or belong to another "
        "model, or something stands in front of the names that this model has not. Take the config.json that the "
        "weights were saved with."
    )


def _is_computed(tensor: Unused) -> bool:
    is_mask = len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1) and tensor.shape[2] == tensor.shape[3]
    return bool(_COMPUTED.search(tensor.parameter)) or (is_mask and tensor.parameter.endswith("bias"))


class _Where:
    """Says to which part of a decoder a name belongs that the decoder does not have."""

    def __init__(self, hf_model: Any, parts: Parts) -> None:
        self._modules = {name: module for name, module in hf_model.named_modules() if name}
        self._prefix, self._parts = hf_model.base_model_prefix, parts
        self._embedding = hf_model.get_input_embeddings()
        names = {id(module): name for name, module in self._modules.items()}
        self._blocks, self._backbone = names[id(parts.blocks)], names[id(parts.backbone)]

    def of(self, parameter: str) -> str:
        """Return the part, or nothing for what lies outside the decoder."""
        owner, beyond = max(
            map(self._split, self._spellings(parameter)), key=lambda each: (len(each[0]), -len(each[1]))
        )
        inside = f"{owner}.{beyond[0]}" if owner == self._blocks else owner
        if inside.startswith(f"{self._blocks}."):
            return f"block {inside[len(self._blocks) + 1 :].partition('.')[0]}"
        if part := self._name_of_part(owner):
            return part
        if (owner and not f"{self._backbone}.".startswith(f"{owner}.")) or _ELSEWHERE.search(beyond[0]):
            return ""  # beside the decoder
        return next((part for part, word in _PARTS_OF_A_DECODER.items() if word.search(beyond[0])), "")

    def _name_of_part(self, owner: str) -> str:
        """Return which of a decoder's parts a module is or belongs to, apart from its blocks and the whole backbone."""
        module = self._modules.get(owner)
        for part in ("final_norm", "unembedding"):
            if any(module is each for each in getattr(self._parts, part).modules()):
                return part.replace("_", " ")
        if module is not None and module is self._embedding:
            return "embedding"
        return owner.rpartition(".")[2] if owner.startswith(f"{self._backbone}.") else ""

    def _spellings(self, parameter: str) -> list[str]:
        """Return a name with and without what may stand in front: the backbone's, or something put around the model."""
        bare = _WRAPPERS.sub("", parameter)
        return [
            parameter,
            *(f"{self._prefix}.{name}" for name in (parameter, bare)),
            *(parameter.removeprefix(f"{self._prefix}."), bare),
        ]

    def _split(self, parameter: str) -> tuple[str, list[str]]:
        """Return the innermost module that a name leads to, and the rest of the name."""
        words = parameter.split(".")
        for end in range(len(words) - 1, 0, -1):
            if (owner := ".".join(words[:end])) in self._modules:
                return owner, words[end:]
        return "", words


def expect_one_value(
    hf_model: Any, tensors: Mapping[str, StoredTensor], files: WeightFiles, parameter_of: Mapping[str, str]
) -> str | None:
    """Raise CorruptFileError if two stored tensors with different numbers become one and the same parameter.

    Apart from a head: with one of its own in the files, transformers does not tie it, whatever the settings say. Return
    the name of one that is so, if there is any.

    Args:
        hf_model: the model; its settings say which parameters are tied.
        tensors: the checkpoint's.
        files: what they are read from.
        parameter_of: the parameter of those that become one by themselves, by name.
    """
    head = {f"{name}.weight" for name, module in hf_model.named_modules() if module is hf_model.get_output_embeddings()}
    tied = hf_model.get_expanded_tied_weights_keys(all_submodels=True)
    stored = defaultdict[str, list[str]](list)
    for name, parameter in parameter_of.items():
        stored[tied.get(parameter, parameter)].append(name)
    untied = None
    for parameter, (first, *others) in stored.items():
        for other in others:
            if _are_equal(tensors[first], tensors[other], files):
                continue
            heads = [name for name in (first, other) if parameter_of[name] in head]
            if len(heads) == 1:
                untied = heads[0]
                continue
            raise CorruptFileError(
                f"{harmless(first)} and {harmless(other)} are stored with different numbers, and by the settings "
                f"of {type(hf_model).__name__} they are one weight ({harmless(parameter)}): one of the two would "
                "be left out. Download the model again."
            )
    return untied


def _are_equal(first: StoredTensor, second: StoredTensor, files: WeightFiles) -> bool:
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    for start in range(0, first.size_bytes, _PIECE):
        size = min(_PIECE, first.size_bytes - start)
        pieces = bytearray(size), bytearray(size)
        for tensor, piece in zip((first, second), pieces, strict=True):
            files.read(tensor, memoryview(piece), start)
        if pieces[0] != pieces[1]:
            return False
    return True
