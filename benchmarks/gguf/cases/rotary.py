"""Rotary settings that cases of many architectures share."""

from typing import Any

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
PLAIN_ROPE = {"rope_parameters": ROPE}


def scaled(kind: str, **settings: Any) -> dict[str, Any]:
    """Return rotary settings of a type of scaling."""
    return {"rope_parameters": ROPE | {"rope_type": kind} | settings}


LINEAR = scaled("linear", factor=4.0)
LLAMA3 = scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = scaled("yarn", factor=8.0, original_max_position_embeddings=128)
YARN_BOUNDS = scaled("yarn", factor=16.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0)
YARN_ATTENTION = scaled("yarn", factor=16.0, original_max_position_embeddings=64, attention_factor=1.5)
YARN_UNTRUNCATED = scaled("yarn", factor=8.0, original_max_position_embeddings=128, truncate=False)
YARN_SCALES = scaled("yarn", factor=8.0, original_max_position_embeddings=128, mscale=0.7, mscale_all_dim=0.2)
DYNAMIC = scaled("dynamic", factor=4.0)
THETA = {"rope_parameters": ROPE | {"rope_theta": 500.0}}


def partial(share: float, **settings: Any) -> dict[str, Any]:
    """Return rotary settings by which a share of each head rotates."""
    return {"rope_parameters": ROPE | {"partial_rotary_factor": share} | settings}


def longrope(n_rotated: int, original: int) -> dict[str, Any]:
    """Return LongRoPE's settings: a factor for each frequency, others for texts longer than the original context."""
    half = n_rotated // 2
    factors = {
        "short_factor": [1.0 + 0.1 * index for index in range(half)],
        "long_factor": [1.5 + 0.9 * index for index in range(half)],
    }
    return {"original_max_position_embeddings": original} | scaled("longrope", **factors)


def partial_longrope(share: float, n_rotated: int) -> dict[str, Any]:
    """Return LongRoPE's settings of heads of which a share rotates."""
    settings = longrope(n_rotated, 256)
    return settings | {"rope_parameters": settings["rope_parameters"] | {"partial_rotary_factor": share}}
