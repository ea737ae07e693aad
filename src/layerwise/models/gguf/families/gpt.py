"""GPT-2, Bloom, Falcon, StarCoder 2, StableLM, Nemotron: decoders with layer norms."""

from typing import Any

from torch import Tensor

from layerwise.models.gguf.conversions import grouped_heads, less_one, transposed
from layerwise.models.gguf.family import (
    ATTENTION,
    BLOCK,
    GATED_MLP,
    NORMS,
    OUTSIDE,
    Description,
    Family,
    biased,
    depth,
    ends,
    head_size,
    layer_norm_eps,
    plain_rotary,
    sizes,
    usual_head_size,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import Rule, blocks, named

_H = "transformer.h.{}"


def _gpt2(metadata: Metadata) -> Description:
    width = metadata.count("embedding_length", least=1)
    usual_head_size(metadata)
    metadata.uniform("feed_forward_length", None)  # written as four times the width, whatever it is
    settings = ends(metadata) | {
        "n_embd": width,
        "n_layer": depth(metadata),
        "n_head": _all_heads(metadata),
        "n_inner": metadata.rows("blk.0.ffn_up.weight"),
        "n_positions": metadata.count("context_length", least=1),
        "activation_function": "gelu_new",
        "layer_norm_epsilon": layer_norm_eps(metadata),
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
    }
    rules = [
        *named({"token_embd": "transformer.wte", "position_embd": "transformer.wpe"}),
        *named({"output_norm": "transformer.ln_f", "output": "lm_head"}),
        *blocks(_H, {"attn_norm": "ln_1", "ffn_norm": "ln_2"}),
        *blocks(_H, {"attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj"}, transposed),
        *blocks(_H, {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}, transposed),
    ]
    return Description("gpt2", settings, rules)


def _bloom(metadata: Metadata) -> Description:
    width, heads = metadata.count("embedding_length", least=1), _all_heads(metadata)
    usual_head_size(metadata)
    metadata.count("context_length", least=1)  # ALiBi has none; converters write the width
    metadata.uniform("feed_forward_length", None)
    if metadata.rows("blk.0.ffn_up.weight") != 4 * width:
        raise metadata.unsupported("has an MLP of another width than four times the model's")
    settings = ends(metadata) | {
        "hidden_size": width,
        "n_layer": depth(metadata),
        "n_head": heads,
        "layer_norm_epsilon": layer_norm_eps(metadata),
        "apply_residual_connection_post_layernorm": False,
    }
    rules = [
        *named(
            {"token_embd": "transformer.word_embeddings", "token_embd_norm": "transformer.word_embeddings_layernorm"}
        ),
        *_FALCON_LIKE,
        *blocks(_H, {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}),
        *blocks(_H, {"attn_qkv": "self_attention.query_key_value"}, grouped_heads(heads, heads)),
    ]
    return Description("bloom", settings, rules)


def _falcon(metadata: Metadata) -> Description:
    size, heads = usual_head_size(metadata), metadata.uniform("attention.head_count", least=1)
    kv_heads = metadata.uniform("attention.head_count_kv", heads, least=1)
    layout = metadata.text("tensor_data_layout", "jploski")
    if layout != "jploski":
        raise metadata.unsupported(f"has queries, keys and values in the order {layout!r}, which is not known here")
    two_norms = metadata.has("blk.0.attn_norm_2.weight")
    grouped = two_norms or 1 < kv_heads < heads
    metadata.uniform("feed_forward_length", None)  # written as four times the width, whatever it is
    settings = (
        ends(metadata)
        | plain_rotary(metadata, size)
        | {
            "hidden_size": metadata.count("embedding_length", least=1),
            "num_hidden_layers": depth(metadata),
            "num_attention_heads": heads,
            "num_kv_heads": kv_heads,
            "ffn_hidden_size": metadata.rows("blk.0.ffn_up.weight"),
            "max_position_embeddings": metadata.count("context_length", least=1),
            "new_decoder_architecture": grouped,
            "num_ln_in_parallel_attn": (2 if two_norms else 1) if grouped else None,
            "multi_query": kv_heads == 1,
            "parallel_attn": True,
            "bias": biased(metadata, "attn_qkv"),
            "alibi": False,
            "activation": "gelu",
            "layer_norm_epsilon": layer_norm_eps(metadata),
        }
    )
    norms = {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"} if two_norms else {"attn_norm": "input_layernorm"}
    rules = [
        *named({"token_embd": "transformer.word_embeddings"}),
        *_FALCON_LIKE,
        *blocks(_H, norms),
        *blocks(_H, {"attn_qkv": "self_attention.query_key_value"}, grouped_heads(heads, kv_heads)),
    ]
    return Description("falcon", settings, rules)


_FALCON_LIKE = [
    *named({"output_norm": "transformer.ln_f", "output": "lm_head"}),
    *blocks(_H, {"attn_output": "self_attention.dense"}),
    *blocks(_H, {"ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h"}),
]


def _starcoder2(metadata: Metadata) -> Description:
    size = usual_head_size(metadata)
    settings = (
        sizes(metadata)
        | plain_rotary(metadata, size)
        | {
            "hidden_act": "gelu_pytorch_tanh",
            "norm_epsilon": layer_norm_eps(metadata),
            "use_bias": biased(metadata, "attn_q"),
            "sliding_window": metadata.count("attention.sliding_window", 0) or None,
        }
    )
    mlp = {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
    return Description("starcoder2", settings, [*named(OUTSIDE), *blocks(BLOCK, NORMS | ATTENTION | mlp)])


def _stablelm(metadata: Metadata) -> Description:
    size = usual_head_size(metadata)
    settings = sizes(metadata) | plain_rotary(metadata, size, partial=True)
    # What counts is whether there is a norm for the MLP: older converters write true for every model.
    metadata.flag("use_parallel_residual", False)
    settings |= {
        "hidden_act": "silu",
        "layer_norm_eps": layer_norm_eps(metadata),
        "use_parallel_residual": not metadata.has("blk.0.ffn_norm.weight"),
        "use_qkv_bias": biased(metadata, "attn_q"),
        "qk_layernorm": metadata.has("blk.0.attn_q_norm.weight"),
    }
    rules = [
        *named(OUTSIDE),
        *blocks(BLOCK, NORMS | ATTENTION | GATED_MLP),
        _norm_of_each_head("q", settings["num_attention_heads"]),
        _norm_of_each_head("k", settings["num_key_value_heads"]),
    ]
    return Description("stablelm", settings, rules)


def _norm_of_each_head(which: str, heads: int) -> Rule:
    def apart(_block: int | None, gains: Tensor) -> tuple[Tensor, ...]:
        return tuple(gains.reshape(heads, -1).unbind())

    names = tuple(f"{BLOCK}.self_attn.{which}_layernorm.norms.{head}.weight" for head in range(heads))
    return Rule((f"blk.{{}}.attn_{which}_norm.weight",), names, apart)


def _nemotron(metadata: Metadata) -> Description:
    size = head_size(metadata)
    _expect_rotary_as_it_was(metadata, size)
    metadata.number("attention.layer_norm_rms_epsilon", None)  # converters write the layer norms' a second time
    settings = (
        sizes(metadata)
        | plain_rotary(metadata, size, partial=True)
        | {
            "head_dim": size,
            "hidden_act": "relu2",
            "norm_eps": layer_norm_eps(metadata),
            "attention_bias": biased(metadata, "attn_q"),
            "mlp_bias": biased(metadata, "ffn_up"),
        }
    )
    mlp = {"ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    norms = {"output_norm.weight": "model.norm.weight"}
    gains = {f"{stored}.weight": f"{made}.weight" for stored, made in NORMS.items()}
    rules = [
        *named(OUTSIDE),
        *named(norms, less_one),
        *blocks(BLOCK, NORMS | ATTENTION | mlp),
        *blocks(BLOCK, gains, less_one),
    ]
    return Description("nemotron", settings, rules)


def _expect_rotary_as_it_was(metadata: Metadata, size: int) -> None:
    """Refuse Nemotrons whose rotary settings llama.cpp's converter writes otherwise than the checkpoint has them.

    It takes the numbers that are turned from the width divided among the heads, and calls every scaling linear.
    """
    if size * metadata.uniform("attention.head_count", least=1) != metadata.count("embedding_length", least=1):
        raise metadata.unsupported(f"has heads of {size}, of which files say wrongly how many numbers are turned")
    trained = metadata.count("rope.scaling.original_context_length", None)
    if trained is not None and metadata.text("rope.scaling.type", "linear") == "linear":
        raise metadata.unsupported("calls its rotary scaling linear and has what only YaRN needs")


def _all_heads(metadata: Metadata) -> Any:
    """Return the number of heads of an architecture in which each has a key and a value of its own."""
    heads = metadata.uniform("attention.head_count", least=1)
    if metadata.uniform("attention.head_count_kv", heads, least=1) != heads:
        raise metadata.unsupported("shares keys and values among heads")
    return heads


FAMILIES = (
    Family("gpt2", _gpt2),
    Family("bloom", _bloom),
    Family("falcon", _falcon),
    Family("starcoder2", _starcoder2),
    Family("stablelm", _stablelm),
    Family("nemotron", _nemotron),
)
