"""A model taken apart for the lens: what everything after loading works with."""

import contextlib
import dataclasses
import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from layerwise.errors import ModelError
from layerwise.models.anatomy.anatomy import Anatomy
from layerwise.models.anatomy.decoder import Parts, text_config
from layerwise.models.anatomy.rope import lengths_of_other_rope
from layerwise.models.checkpoint.checkpoint import Checkpoint
from layerwise.models.libraries.bridge import make_bridge
from layerwise.models.machine.device import dtype_name
from layerwise.models.output_head.output_head import OutputHead
from layerwise.models.residency.residency import Residency, Resident
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.types import ModelInfo


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A transformers decoder taken apart for the lens. Its weights and modules stay as they were."""

    name: str
    hf: Any
    """The transformers model."""
    tokenizer: Tokenizer
    parts: Parts
    output_head: OutputHead
    checkpoint: Checkpoint | None
    """None for a model that was handed over in memory. Of random weights, what they were drawn for."""
    residency: Residency
    device: torch.device
    dtype: torch.dtype
    """Of the blocks, or of the head if that is coarser."""
    parameters: int

    @property
    def n_layers(self) -> int:
        return len(self.parts.blocks)

    @cached_property
    def anatomy(self) -> Anatomy:
        """What can be read inside each block, and where."""
        return Anatomy(self.hf, self.parts.blocks)

    @cached_property
    def info(self) -> ModelInfo:
        """What this is and how it runs here. The first call may read the weight files for their sum."""
        config, checkpoint = text_config(self.hf.config), self.checkpoint
        source = checkpoint.source if checkpoint else None
        heads = int(_setting(config, "num_attention_heads") or 0)
        return ModelInfo(
            name=self.name,
            source="memory" if source is None else "random" if source.random else source.kind,
            location=source.location if source else self.name,
            revision=checkpoint.revision if checkpoint else None,
            weights_sum=self._weights_sum(),
            architecture=type(self.hf).__name__,
            n_layers=self.n_layers,
            d_model=self.output_head.weight.shape[1],
            n_heads=heads,
            n_kv_heads=int(_setting(config, "num_key_value_heads") or heads),
            vocab_size=self.output_head.vocab_size,
            context_length=self.context_length,
            parameters=self.parameters,
            dtype=dtype_name(self.dtype),
            device=self.device.type,
        )

    def identified(self) -> ModelInfo:
        """Return `info` with the weights' sum, computed if need be, and anew for a model in memory.

        There, a change to a few weights may have been seen by nobody.
        """
        if self.checkpoint is None:
            self.__dict__.pop("info", None)
        if self.info.weights_sum is None and self.checkpoint:
            self.__dict__["info"] = dataclasses.replace(self.info, weights_sum=self.checkpoint.weights_sum)
        return self.info

    def _weights_sum(self) -> str | None:
        if self.checkpoint is None or self.checkpoint.source.random:
            return _sum_in_memory(self.hf)
        resident = isinstance(self.residency, Resident)
        return self.checkpoint.weights_sum if resident else self.checkpoint.known_weights_sum

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Keep the model in evaluation mode inside the block, for dropout would make every number random.

        A model in memory comes back in the mode that its owner had it in.
        """
        training = [module for module in self.hf.modules() if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True

    @property
    def context_length(self) -> int:
        config = text_config(self.hf.config)
        return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", 0))

    def rope_of(self, length: int) -> int:
        """Return which of its sets of rotary frequencies the model reads a text of so many tokens with."""
        return bisect_left(self._lengths_of_other_rope, length)

    @cached_property
    def _lengths_of_other_rope(self) -> tuple[int, ...]:
        return lengths_of_other_rope(text_config(self.hf.config))

    @cached_property
    def bridge(self) -> Any:
        """TransformerLens's bridge over the same weights, made when first asked for."""
        if not isinstance(self.residency, Resident):
            raise ModelError(
                f"TransformerLens's bridge needs all of {self.name} in memory, and it is streamed from disk. Give more "
                "--memory, or use a smaller model."
            )
        # Not our own short names: TransformerLens takes some of them for names of its own.
        name = str(self.checkpoint.folder) if self.checkpoint else self.name
        return make_bridge(self.hf, self.tokenizer.hf, name)


def _setting(config: Any, name: str) -> Any:
    """Return a setting; of one that differs between blocks, which `getattr` refuses, the value that most have."""
    return config.to_dict().get(config.attribute_map.get(name, name))


def _sum_in_memory(hf_model: Any) -> str:
    """Return a SHA-256 over every parameter's name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, parameter in sorted(hf_model.named_parameters()):
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
