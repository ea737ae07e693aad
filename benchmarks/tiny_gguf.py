"""A tiny Llama in a GGUF file, to be changed key by key and tensor by tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as gguf_format
import numpy as np

D_MODEL, HEADS, KV_HEADS, FFN = 16, 2, 1, 32


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in vocabulary order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def llama_tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    head = D_MODEL // HEADS
    shapes = {"token_embd": (259, D_MODEL), "output_norm": (D_MODEL,)}
    block = {
        "attn_norm": (D_MODEL,),
        "attn_q": (D_MODEL, D_MODEL),
        "attn_k": (KV_HEADS * head, D_MODEL),
        "attn_v": (KV_HEADS * head, D_MODEL),
        "attn_output": (D_MODEL, D_MODEL),
        "ffn_norm": (D_MODEL,),
        "ffn_gate": (FFN, D_MODEL),
        "ffn_up": (FFN, D_MODEL),
        "ffn_down": (D_MODEL, FFN),
    }
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    return {f"{name}.weight": random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_gguf(
    path: Path,
    architecture: str = "llama",
    tensors: dict[str, np.ndarray] | None = None,
    more: Callable[[gguf_format.GGUFWriter], None] = lambda writer: None,
    tokenizer: bool = True,
    packed: dict[str, Any] | None = None,
) -> Path:
    writer = gguf_format.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(D_MODEL)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(D_MODEL // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([*byte_alphabet(), "Ġa", "ab", "<end>"])
        writer.add_token_types([1] * 258 + [3])
        writer.add_token_merges(["Ġ a", "a b"])
        writer.add_bos_token_id(258)
        writer.add_eos_token_id(258)
    more(writer)
    for name, values in (llama_tensors() if tensors is None else tensors).items():
        if name in (packed or {}):
            continue
        writer.add_tensor(name, values)
    for name, (values, kind) in (packed or {}).items():
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
