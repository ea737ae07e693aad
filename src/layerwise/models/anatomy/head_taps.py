"""Where a block's attention has its heads: queries, keys, values, what they read, and how they look."""

from typing import Any

from torch import nn

from layerwise.models.anatomy.shape import Heads, Shape
from layerwise.models.anatomy.tap import Found, Tap

_OUTPUTS = ("o_proj", "out_proj", "dense", "c_proj")
_FUSED = ("query_key_value", "qkv_proj", "c_attn", "Wqkv")
_STACKED = ("GPT2Attention", "Phi3Attention", "MptAttention", "DbrxAttention")
"""Attention whose fused projection gives all queries, then all keys, then all values."""
_GROUPED = (
    *("GPTNeoXAttention", "GPTNeoXJapaneseAttention", "BloomAttention", "FalconAttention", "GPTBigCodeAttention"),
    "PersimmonAttention",
)
"""Where it gives the queries that share a key, with that and its value after them, then the next such group."""
_SHARED_OUT = {"CodeGenAttention": 4}
"""Where it is cut into equal shares, one for each processor that it was trained on (mp_num in CodeGen's code), with
queries, values, keys in each."""
_GATED = ("Qwen3NextAttention", "Qwen3_5Attention", "Qwen3_5MoeAttention")
"""Where the projection to queries gives each head's query, then its gate."""


def output_projection(attention: nn.Module) -> nn.Module | None:
    """Return the projection from the heads' outputs to the stream."""
    return next((child for name, child in attention.named_children() if name in _OUTPUTS), None)


def makes_queries(module: nn.Module) -> bool:
    """Return whether a module is attention: it has projections to queries, in one of the usual forms."""
    names = {name for name, _ in module.named_children()}
    return not names.isdisjoint((*_FUSED, "q_proj", "q_a_proj", "kv_proj"))


def taps_of_heads(attention: nn.Module) -> Found:
    """Return where q, k, v, z and pattern are in an attention module, or why they are not."""
    found: Found = {"pattern": Tap(attention, enters=False, element=1)}
    output, d_head = output_projection(attention), _d_head(attention)
    d_value = getattr(attention, "v_head_dim", None) or d_head
    if output is None or d_value is None:
        reason = f"{type(attention).__name__} has no heads of one width with one projection after them"
        return found | dict.fromkeys("qkvz", reason)
    found["z"] = Tap(output, enters=True, shape=Heads(d_value))
    if _is_latent(attention) or d_head is None:
        name = type(attention).__name__
        reason = f"{name} makes keys and values from a state that its heads share, and parts of each key apart"
        return found | dict.fromkeys("qkv", reason)
    return found | _projections(attention, _width_in(output) // d_value, d_head, d_value)


def _is_latent(attention: nn.Module) -> bool:
    return any(name == "kv_b_proj" for name, _ in attention.named_children())


def _projections(attention: nn.Module, heads: int, d_head: int, d_value: int) -> Found:
    children = dict(attention.named_children())
    name = type(attention).__name__
    fused = next((key for key in _FUSED if key in children), None)
    if fused:
        return _cut(children[fused], fused, name, heads, d_head)
    found: Found = {}
    for kind, width in {"q": d_head, "k": d_head, "v": d_value}.items():
        projection = children.get(f"{kind}_proj")
        times, rest = divmod(0 if projection is None else _width_out(projection), width)
        shape: Shape = Heads(width)
        if kind == "q" and name in _GATED:
            times, shape = times // 2, Heads(width, heads, last=1)
        whole = times == heads if kind == "q" else times and heads % times == 0
        if projection is None or rest or not whole:
            found[kind] = f"{name} has no {kind}_proj that gives {heads} heads of {width} numbers, or a part of as many"
        else:
            found[kind] = Tap(projection, enters=False, shape=shape)
    return found


def _cut(fused: nn.Module, child: str, attention: str, heads: int, d_head: int) -> Found:
    """Return the taps of queries, keys and values that one projection makes."""
    kv_heads, rest = divmod(_width_out(fused) - heads * d_head, 2 * d_head)
    groups = 1 if attention in _STACKED else kv_heads if attention in _GROUPED else _SHARED_OUT.get(attention)
    if not groups or rest or heads % groups or kv_heads % groups:
        return dict.fromkeys("qkv", f"where {attention}'s {child} has queries, keys and values is not known")
    queries, keys = heads // groups, kv_heads // groups
    cuts = {"q": (0, queries), "k": (queries, queries + keys), "v": (queries + keys, None)}
    if attention in _SHARED_OUT:
        cuts |= {"k": cuts["v"], "v": cuts["k"]}
    return {
        kind: Tap(fused, enters=False, shape=Heads(d_head, groups, first, last)) for kind, (first, last) in cuts.items()
    }


def _d_head(attention: Any) -> int | None:
    return getattr(attention, "head_dim", None) or getattr(attention, "head_size", None)


def _width_in(projection: Any) -> int:
    """Return how many numbers a linear map takes; transformers' Conv1D has its matrix the other way round."""
    return projection.weight.shape[0] if hasattr(projection, "nf") else projection.in_features


def _width_out(projection: Any) -> int:
    return projection.nf if hasattr(projection, "nf") else projection.out_features
