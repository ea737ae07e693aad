"""TransformerLens's view of a loaded model, for everything that layerwise does not do itself."""

import contextlib
from collections.abc import Iterator
from typing import Any

from layerwise.models.libraries.computed import copy_of


def make_bridge(hf_model: Any, hf_tokenizer: Any, name: str) -> Any:
    """Return a TransformerLens `TransformerBridge` over the same weights.

    The bridge rewrites the module tree that it is given (attention implementation, parameter
    names), so it gets a second tree whose tensors are shared with the first: no memory is copied
    and traces stay what they were.
    """
    from transformer_lens.model_bridge import TransformerBridge  # takes seconds to import

    tensors = [*hf_model.parameters(), *hf_model.buffers()]
    twin = copy_of(hf_model, shared=tensors)
    with _nothing_installed():
        return TransformerBridge.boot_transformers(
            name, hf_model=twin, tokenizer=hf_tokenizer, dtype=hf_model.dtype, device=str(hf_model.device)
        )


@contextlib.contextmanager
def _nothing_installed() -> Iterator[None]:
    """Keep TransformerLens 4.3 from running `pip install torchvision`, which can bring another PyTorch with it.

    It does so for a model of images and text whose processor it cannot load. Only text is read here.
    """
    from transformer_lens.model_bridge.sources.transformers import helpers

    install = helpers._ensure_torchvision
    helpers._ensure_torchvision = lambda: False
    try:
        yield
    finally:
        helpers._ensure_torchvision = install
