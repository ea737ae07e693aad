"""The keys that llama.cpp's converter writes from a configuration, without the architecture before them.

Integers, floating-point numbers and truth values are different types in a file: a number that must be a floating-point
one is made one here.
"""

import math
from typing import Any

Keys = dict[str, Any]
Settings = dict[str, Any]


def usual(c: Settings) -> Keys:
    """Return what the converter writes for most architectures."""
    keys = shape(c) | rope(c) | experts(c)
    if (eps := first(c, "rms_norm_eps", "norm_eps")) is not None:
        keys["attention.layer_norm_rms_epsilon"] = float(eps)
    if (eps := first(c, "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")) is not None:
        keys["attention.layer_norm_epsilon"] = float(eps)
    if c.get("head_dim") is not None:
        keys |= {"attention.key_length": c["head_dim"], "attention.value_length": c["head_dim"]}
    return keys


def shape(c: Settings) -> Keys:
    """Return what tells the sizes."""
    return said(
        block_count=first(c, "num_hidden_layers", "n_layer", "n_layers"),
        context_length=first(c, "max_position_embeddings", "n_positions", "max_seq_len"),
        embedding_length=first(c, "hidden_size", "n_embd", "d_model"),
        feed_forward_length=first(c, "intermediate_size", "n_inner"),
    ) | said_of(
        "attention",
        head_count=first(c, "num_attention_heads", "n_head", "n_heads"),
        head_count_kv=c.get("num_key_value_heads"),
    )


def rope_settings(c: Settings) -> Settings:
    """Return the rotary settings, of layers that see all where layers differ."""
    settings = dict(c.get("rope_parameters") or {})
    settings |= {name: c[name] for name in ("partial_rotary_factor", "original_max_position_embeddings") if c.get(name)}
    return settings.get("full_attention", settings)


def rope(c: Settings) -> Keys:
    """Return the rotary base, and the scaling that the converter tells: of the types linear, YaRN and LongRoPE."""
    settings = rope_settings(c)
    keys: Keys = {}
    kind = settings.get("rope_type")
    if kind in ("linear", "yarn"):
        keys |= {"rope.scaling.type": kind, "rope.scaling.factor": float(settings["factor"])}
    if kind == "longrope":
        keys["rope.scaling.type"] = kind
    if kind == "yarn":
        keys["rope.scaling.original_context_length"] = settings["original_max_position_embeddings"]
        told = {
            "attention_factor": "attn_factor",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
        }
        keys |= {
            f"rope.scaling.yarn_{name}": float(settings[setting])
            for setting, name in told.items()
            if settings.get(setting) is not None
        }
    if settings.get("rope_theta") is not None:
        keys["rope.freq_base"] = float(settings["rope_theta"])
    if local := (c.get("rope_parameters") or {}).get("sliding_attention", {}).get("rope_theta"):
        keys["rope.freq_base_swa"] = float(local)
    return keys


def experts(c: Settings) -> Keys:
    """Return how many experts there are and how many a token takes."""
    return said(
        expert_count=first(c, "num_local_experts", "num_experts", "n_routed_experts"),
        expert_used_count=first(c, "num_experts_per_tok", "top_k_experts"),
    )


def head_width(c: Settings) -> int:
    """Return the width of a head, which settings may leave to the shape."""
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def rotated(c: Settings) -> int:
    """Return how many of a head's numbers rotate."""
    return int(rope_settings(c).get("partial_rotary_factor", 1.0) * head_width(c))


def plain(keys: Keys) -> Keys:
    """Return the keys without those of rotary angles."""
    return {name: value for name, value in keys.items() if not name.startswith("rope.")}


def llama3_factors(c: Settings) -> list[float] | None:
    """Return what each rotary frequency is divided by, for Llama 3's scaling; None for any other."""
    settings = rope_settings(c)
    if settings.get("rope_type") != "llama3":
        return None
    width = head_width(c)
    factor, low, high = (settings[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    factors = []
    for index in range(width // 2):
        turns = (
            settings["original_max_position_embeddings"]
            * settings["rope_theta"] ** (-2 * index / width)
            / (2 * math.pi)
        )
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - kept) / factor + kept))
    return factors


def first(c: Settings, *names: str) -> Any:
    """Return the first of these settings that there is."""
    return next((c[name] for name in names if c.get(name) is not None), None)


def said(**keys: Any) -> Keys:
    """Return the keys that have a value."""
    return {name: value for name, value in keys.items() if value is not None}


def said_of(part: str, **keys: Any) -> Keys:
    """Return the keys of a part that have a value, with its name before theirs."""
    return {f"{part}.{name}": value for name, value in said(**keys).items()}
