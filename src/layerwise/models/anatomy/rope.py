"""Rotary positions other than the plain ones: stretched, or dependent on how long a text is."""

from typing import Any


def lengths_of_other_rope(config: Any) -> tuple[int, ...]:
    """Return the numbers of tokens beyond which transformers turns *all* positions of a text otherwise.

    LongRoPE (Ding et al. 2024, arXiv:2402.13753) has frequencies for short texts and for long ones.
    transformers takes one set for a whole forward, by how many tokens the text has.
    """
    long = [
        kind
        for kind in _kinds(config)
        if kind.get("rope_type") == "longrope" and kind["short_factor"] != kind["long_factor"]
    ]
    return tuple(sorted({int(kind["original_max_position_embeddings"]) for kind in long}))


def _kinds(config: Any) -> list[dict[str, Any]]:
    """Return the rotary settings: one dictionary, or some models' several, one per kind of block."""
    rope = getattr(config, "rope_parameters", None) or {}
    return [rope, *(each for each in rope.values() if isinstance(each, dict))]
