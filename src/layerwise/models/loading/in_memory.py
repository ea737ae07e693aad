"""A transformers model that somebody has in memory already."""

from typing import Any

from layerwise.errors import ModelError
from layerwise.models.loading.decoders import expect_decoder
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.loading.taking_apart import take_apart
from layerwise.models.machine.device import dtype_name
from layerwise.models.weights.expectations import expect_finite


def model_in_memory(
    hf_model: Any,
    hf_tokenizer: Any,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    memory: str | int = "auto",
) -> LoadedModel:
    """Return a transformers model that is in memory already, where and as it is.

    Raises:
        ModelError: it is no such model, its tokenizer is missing, or it was asked for otherwise than it is.
    """
    if hf_tokenizer is None or not hasattr(hf_model, "get_output_embeddings"):
        raise ModelError(
            f"Expected a name, a path, or a transformers model together with tokenizer=; got "
            f"{type(hf_model).__name__}{' without a tokenizer' if hf_tokenizer is None else ''}."
        )
    if not hasattr(hf_tokenizer, "convert_ids_to_tokens"):
        raise ModelError(
            f"Expected a transformers tokenizer as tokenizer=; got {hf_tokenizer!r}. Pass the object that "
            "AutoTokenizer.from_pretrained returns."
        )
    asked = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
    found = {"revision": None, "memory": None, "device": hf_model.device.type, "dtype": dtype_name(hf_model.dtype)}
    if unmet := [f"{key}={wish!r}" for key, wish in asked.items() if wish not in ("auto", found[key])]:
        raise ModelError(
            f"A model in memory is read where and as it is ({found['dtype']} on {found['device']}), so "
            f"{', '.join(unmet)} would change nothing. Leave it out, and use the model's own .to(…) beforehand."
        )
    # The code of an architecture that transformers doesn't know has run already, or there would be no model.
    expect_decoder(hf_model.config.to_dict(), type(hf_model).__name__, in_memory=True)
    name = getattr(hf_model.config, "_name_or_path", "") or type(hf_model).__name__
    expect_finite(hf_model, name)
    return take_apart(name, hf_model, hf_tokenizer, None)
