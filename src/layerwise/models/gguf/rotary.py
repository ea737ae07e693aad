"""Rotary positions as a GGUF file has them, as transformers' settings.

llama.cpp divides each frequency by a factor of its own where the file has such a tensor, and all of
them by ``rope.scaling.factor``, whose kind is linear if the file does not say which.
"""

import math
from typing import Any

from layerwise.models.gguf.gguf_files import FACTORS
from layerwise.models.gguf.metadata import Metadata

_BASE = 10_000.0
"""Where the file doesn't say."""

_SHORT, _LONG, _EACH = FACTORS


def rotary(
    metadata: Metadata, head_size: int, *, own_factors: bool = False, truncate: bool = True, partial: bool = False
) -> dict[str, Any]:
    """Return ``rope_parameters`` for transformers.

    Args:
        metadata: the file's.
        head_size: numbers in a head's query.
        own_factors: whether llama.cpp takes factors for each frequency for this architecture.
        truncate: whether YaRN's bounds are whole dimensions.
        partial: whether the class in transformers can turn a part of each head; others turn all, whatever they hear.

    Raises:
        UnsupportedModelError: the file stretches its positions in a way that transformers cannot.
    """
    turned = metadata.count("rope.dimension_count", head_size)
    if turned % 2 or not 0 < turned <= head_size or (turned < head_size and not partial):
        raise metadata.unsupported(f"turns {turned} numbers of heads of {head_size}")
    plain = {
        "rope_type": "default",
        "rope_theta": float(metadata.number("rope.freq_base", _BASE)),
        "partial_rotary_factor": share(turned, head_size),  # also where it is 1: some classes have another default
    }
    return plain | _scaling(metadata, turned, own_factors, truncate)


def share(turned: int, size: int) -> float:
    """Return the share of `size` of which transformers, which rounds down, makes `turned` again."""
    exact = turned / size
    return exact if int(size * exact) == turned else math.nextafter(exact, 1.0)


def _scaling(metadata: Metadata, turned: int, own_factors: bool, truncate: bool) -> dict[str, Any]:
    kind = metadata.text("rope.scaling.type", "linear")
    # The older name is read where the newer one is absent.
    factor = metadata.number("rope.scaling.factor", None)
    older = metadata.number("rope.scale_linear", 0)
    factor = float((older if factor is None else factor) or 1.0)
    gain = float(metadata.number("rope.scaling.attn_factor", 1.0))
    trained = metadata.count("rope.scaling.original_context_length", metadata.count("context_length", least=1))
    if kind == "none":
        factor = 1.0
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise metadata.unsupported(f"stretches its rotary positions by {kind!r}, which is not known here")
    if kind == "yarn":
        return _yarn(metadata, factor, gain, trained, truncate)
    short, long = _factors(metadata, turned, own_factors)
    if kind == "longrope" and short is None:
        raise metadata.unsupported("stretches its rotary positions by LongRoPE, and holds none of its factors")
    if short is None and gain == 1.0:
        return {} if factor == 1.0 else {"rope_type": "linear", "factor": factor}
    short, long = short or [1.0] * (turned // 2), long or [1.0] * (turned // 2)
    return {
        "rope_type": "longrope",
        "short_factor": [factor * each for each in short],
        "long_factor": [factor * each for each in long],
        "factor": 1.0,
        "attention_factor": gain,
        "original_max_position_embeddings": trained,
    }


def _yarn(metadata: Metadata, factor: float, gain: float, trained: int, truncate: bool) -> dict[str, Any]:
    """Return YaRN's settings (Peng et al. 2023, arXiv:2309.00071)."""
    if metadata.number("rope.scaling.yarn_ext_factor", 1.0) != 1.0 or any(map(metadata.has, FACTORS)):
        raise metadata.unsupported("stretches its rotary positions by a YaRN that transformers does not have")
    given = metadata.number("rope.scaling.yarn_attn_factor", None)
    spread = float(metadata.number("rope.scaling.yarn_log_multiplier", 0.0))
    if given is None:
        given = _magnitude(factor, 1.0) / (_magnitude(factor, spread) if spread else 1.0)
    return {
        "rope_type": "yarn",
        "factor": factor,
        "attention_factor": float(given) * gain,
        "beta_fast": float(metadata.number("rope.scaling.yarn_beta_fast", 32.0)),
        "beta_slow": float(metadata.number("rope.scaling.yarn_beta_slow", 1.0)),
        "original_max_position_embeddings": trained,
        "truncate": truncate,
    }


def _magnitude(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1.0 else 0.1 * weight * math.log(factor) + 1.0


def _factors(metadata: Metadata, turned: int, known: bool) -> tuple[list[float] | None, list[float] | None]:
    """Return what each frequency is divided by in short texts, and in long ones."""
    found = [name for name in FACTORS if metadata.has(name)]
    if not found:
        return None, None
    if not known:
        raise metadata.unsupported(f"has {found[0]}, which llama.cpp does not use for this architecture")
    if _EACH not in found and set(found) != {_SHORT, _LONG}:
        raise metadata.unsupported(f"has {found[0]} without its counterpart")
    each = [metadata.values(name).tolist() for name in ((_EACH, _EACH) if _EACH in found else (_SHORT, _LONG))]
    if any(len(factors) != turned // 2 for factors in each):
        raise metadata.unsupported(f"has {len(each[0])} factors in {found[0]} for {turned // 2} frequencies")
    return each[0], each[1]
