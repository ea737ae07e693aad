"""A checkpoint with the real shapes of Qwen3-8B and random weights: as large as the real one, from one block's."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerwise.models.checkpoint.checkpoint import locate
from layerwise.models.sources.names import resolve

SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
_BLOCKS_PER_SHARD = 4


def write_checkpoint(folder: Path) -> Path:
    """Return `folder` with config, tokenizer and 16.4 GB of bfloat16 safetensors, unless they are there already."""
    done = folder / "model.safetensors.index.json"
    if done.exists():
        return folder
    from transformers import Qwen3Config

    folder.mkdir(parents=True, exist_ok=True)
    config = Qwen3Config(**SHAPE)
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(folder)
    for file in locate(resolve("smollm2-135m")).folder.glob("tokenizer*"):  # any tokenizer of fewer tokens
        shutil.copy(file, folder)
    torch.manual_seed(0)
    block, weight_map = _block(config), {}
    for first in range(0, config.num_hidden_layers, _BLOCKS_PER_SHARD):
        layers = range(first, min(first + _BLOCKS_PER_SHARD, config.num_hidden_layers))
        tensors = {f"model.layers.{layer}.{name}": tensor for layer in layers for name, tensor in block.items()}
        weight_map |= _write(folder / f"model-blocks-{first:02}.safetensors", tensors)
    table = _random(config.vocab_size, config.hidden_size)
    outside = {"model.embed_tokens.weight": table, "model.norm.weight": torch.ones(config.hidden_size).bfloat16()}
    weight_map |= _write(folder / "model-outside.safetensors", outside | {"lm_head.weight": table})
    done.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def _block(config: Any) -> dict[str, Tensor]:
    """Return one block's weights, drawn so that states neither vanish nor explode over the blocks."""
    from accelerate import init_empty_weights
    from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

    with init_empty_weights():
        block = Qwen3DecoderLayer(config, 0)
    return {
        name: torch.ones(parameter.shape).bfloat16() if parameter.dim() == 1 else _random(*parameter.shape)
        for name, parameter in block.named_parameters()
    }


def _random(rows: int, columns: int) -> Tensor:
    return (torch.randn(rows, columns) * columns**-0.5).bfloat16()


def _write(file: Path, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Write a safetensors file, tensor after tensor, and return the index's entries for it."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            out.write(tensor.view(torch.uint8).numpy().data)
    return dict.fromkeys(tensors, file.name)
