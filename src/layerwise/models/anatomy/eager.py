"""Attention computed step by step, so that its weights come out."""

import contextlib
from collections.abc import Iterator
from typing import Any

_SETTING = "_attn_implementation_internal"


@contextlib.contextmanager
def eager_attention(hf_model: Any) -> Iterator[None]:
    """Have a transformers model compute attention in PyTorch's single steps inside the ``with``.

    Kernels that fuse the steps return no weights. The masks are made by the model's own forward to suit the
    implementation, so that must run inside too: a fused kernel may be given no mask at all and know by itself that it
    looks backwards only. Results differ from the fused ones by rounding. Afterwards every module has its own
    implementation back.

    It is set in every configuration that a module reads, for not all of them are the model's own. transformers'
    set_attn_implementation() leaves out architectures (Falcon) that read the same setting in their own way.
    """
    configs = {id(config): config for module in hf_model.modules() if (config := getattr(module, "config", None))}
    held = [(config, getattr(config, _SETTING)) for config in configs.values() if hasattr(config, _SETTING)]
    try:
        for config, _ in held:
            setattr(config, _SETTING, "eager")
        yield
    finally:
        for config, before in held:
            setattr(config, _SETTING, before)
