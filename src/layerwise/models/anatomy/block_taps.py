"""Which of a block's modules are its attention and its MLP, and where they meet the residual stream."""

import inspect

from torch import nn

from layerwise.models.anatomy.head_taps import makes_queries, output_projection, taps_of_heads
from layerwise.models.anatomy.shape import Scaled
from layerwise.models.anatomy.tap import Found, Tap

_ATTENTION = ("self_attn", "attn", "self_attention", "attention", "temporal_block", "mixer")
_MLP = ("mlp", "feed_forward", "ffn", "mlp_block", "block_sparse_moe", "shared_mlp", "mixer")
_DOWN = ("down_proj", "dense_4h_to_h", "c_proj", "fc2", "fc_out", "w2", "output_linear")
_ROUTERS = ("router", "gate")
_BESIDE_ATTENTION = ("mamba",)
"""Mixers that add to the stream together with attention where a block has both."""
_BEFORE_MLP = (
    *("pre_feedforward_layernorm", "pre_mlp_layernorm", "pre_ff_layernorm", "feedforward_layernorm", "ffn_norm"),
    *("channel_pre_norm", "ln_2", "norm_2", "final_layer_norm"),
)
_BEFORE_MLP_OR_AFTER_ATTENTION = "post_attention_layernorm"
"""Llama's name for the norm before the MLP. Where there is one of another name, or one after the MLP, it norms what
attention returns; but not where GLM 4's norm does that."""
_AFTER_ATTENTION = "post_self_attn_layernorm"
_AFTER_MLP = ("post_feedforward_layernorm", "post_mlp_layernorm")

_NORMS_THE_STREAM = "apply_residual_connection_post_layernorm"
"""A setting of Bloom's, which its released models don't have, with which what stands in the stream is normed."""
_CHANGES_THE_STREAM = ("layer_scalar", "per_layer_input_gate")
"""What a block has that adds a third part to the stream, or scales it (Gemma 4)."""


def taps_of(block: nn.Module) -> Found:
    """Return where each kind of site is in a block, or why it has none."""
    attention, mlps = attention_of(block), mlps_of(block)
    found: Found = {"resid_pre": Tap(block, enters=True), "resid_post": Tap(block, enters=False)}
    if attention is None:
        found |= dict.fromkeys(("attn_out", "q", "k", "v", "z", "pattern"), f"{_name(block)} has no attention")
    else:
        found |= {"attn_out": _attn_out(block, attention), **taps_of_heads(attention)}
    if len(mlps) != 1:
        few = "no MLP" if not mlps else f"{len(mlps)} MLPs side by side"
        found |= dict.fromkeys(("resid_mid", "mlp_out", "mlp_post"), f"{_name(block)} has {few}")
        if mlps:
            found["resid_mid"] = _resid_mid(block, mlps[0], side_by_side=False)
    else:
        found["resid_mid"] = _resid_mid(block, mlps[0], side_by_side=attention is not None and _is_parallel(block))
        found |= {"mlp_out": _mlp_out(block, mlps[0]), "mlp_post": _mlp_post(block, mlps[0])}
    if getattr(block, _NORMS_THE_STREAM, False):
        reason = f"{_name(block)} norms the stream itself, so it is no sum of parts"
        found |= dict.fromkeys(("resid_mid", "attn_out", "mlp_out"), reason)
    return found


def more_than_parts(block: nn.Module) -> str | None:
    """Return why attention and MLP are not all that changes the stream in a block, if so."""
    extra = [name for name in _CHANGES_THE_STREAM if hasattr(block, name)]
    return f"{_name(block)} does more to the stream than to add these ({', '.join(extra)})" if extra else None


def attention_of(block: nn.Module) -> nn.Module | None:
    """Return a block's attention; None if it has none, or not exactly one."""
    for name, child in block.named_children():
        if name in _ATTENTION:
            # GPT-Neo has its attention in a box that only hands through.
            inner = [each for each in (child, *child.children()) if makes_queries(each)]
            return inner[0] if len(inner) == 1 else None
    return None


def mlps_of(block: nn.Module) -> list[nn.Module]:
    """Return a block's MLPs; where it has none, but the layers of one (OPT, XGLM), itself."""
    named = [child for name, child in block.named_children() if name in _MLP and not makes_queries(child)]
    mlps = [child for child in named if _down(child) is not None or routes(child)]
    return mlps or ([block] if _down(block) is not None else [])


def _down(mlp: nn.Module) -> nn.Module | None:
    """Return an MLP's last projection; experts' are no matrices."""
    named = [child for name, child in mlp.named_children() if name in _DOWN]
    return next((child for child in named if getattr(child.weight, "ndim", None) == 2), None)


def routes(mlp: nn.Module) -> bool:
    """Return whether an MLP sends tokens to experts."""
    return any(name in _ROUTERS for name, _ in mlp.named_children())


def norms_of(block: nn.Module) -> dict[str, nn.Module]:
    """Return a block's own norms by name; not those inside its parts."""
    return {name: child for name, child in block.named_children() if "norm" in type(child).__name__.lower()}


def norm_before_mlp(block: nn.Module) -> nn.Module | None:
    """Return the norm that the MLP reads the stream through, where that is not the one that attention does too."""
    norms = norms_of(block)
    for name in _BEFORE_MLP:
        if name in norms:
            return norms[name]
    return None if _norms_attentions_output(block) else norms.get(_BEFORE_MLP_OR_AFTER_ATTENTION)


def _norms_attentions_output(block: nn.Module) -> bool:
    """Return whether a block's post_attention_layernorm stands after attention, as its name says."""
    norms = norms_of(block)
    if _AFTER_ATTENTION in norms:
        return False
    return any(name in norms for name in (*_BEFORE_MLP, *_AFTER_MLP))


def _norm_after_attention(block: nn.Module) -> nn.Module | None:
    norms = norms_of(block)
    name = _BEFORE_MLP_OR_AFTER_ATTENTION if _norms_attentions_output(block) else _AFTER_ATTENTION
    return norms.get(name)


def _norm_after_mlp(block: nn.Module) -> nn.Module | None:
    return next((norm for name, norm in norms_of(block).items() if name in _AFTER_MLP), None)


def _is_parallel(block: nn.Module) -> bool:
    """Return whether attention and MLP read the same state."""
    norms = norms_of(block)
    return bool(getattr(block, "use_parallel_residual", False)) or "ln_mlp" in norms or len(norms) == 1


def _resid_mid(block: nn.Module, mlp: nn.Module, *, side_by_side: bool) -> Tap | str:
    if side_by_side:
        return f"{_name(block)} runs attention and MLP side by side on the same state"
    norm = norm_before_mlp(block)
    if norm is not None:
        return Tap(norm, enters=True, is_stream=True)
    if _norm_after_mlp(block) is not None and mlp is not block:  # OLMo 2 norms only what the parts return
        return Tap(mlp, enters=True, is_stream=True)
    return f"none of {_name(block)}'s norms ({', '.join(norms_of(block)) or 'it has none'}) is known to precede the MLP"


def _attn_out(block: nn.Module, attention: nn.Module) -> Tap | str:
    if beside := [name for name, _ in block.named_children() if name in _BESIDE_ATTENTION]:
        return f"{_name(block)} adds attention and {beside[0]} to the stream together, each with a scale of its own"
    return _leaving(block, attention, _norm_after_attention(block), output_projection(attention))


def _mlp_out(block: nn.Module, mlp: nn.Module) -> Tap | str:
    return _leaving(block, mlp, _norm_after_mlp(block), _down(mlp))


def _mlp_post(block: nn.Module, mlp: nn.Module) -> Tap | str:
    down = _down(mlp)
    return f"{_name(block)}'s experts have their neurons apart" if down is None else Tap(down, enters=True)


def _leaving(block: nn.Module, part: nn.Module, norm: nn.Module | None, last: nn.Module | None) -> Tap | str:
    """Return where a part's sum with the stream is one step away: after its norm, its last projection, or itself."""
    module = norm if norm is not None else part
    # Bloom and MPT hand the stream to the part, which adds it; OPT has its MLP's layers in the block itself.
    if norm is None and (part is block or "residual" in inspect.signature(part.forward).parameters):
        if last is None:
            return f"{_name(part)} adds the stream by itself"
        module = last
    scale = getattr(block, "residual_multiplier", None)  # Granite's
    return Tap(module, enters=False) if scale is None else Tap(module, False, shape=Scaled(scale))


def _name(module: nn.Module) -> str:
    return type(module).__name__
