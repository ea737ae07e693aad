"""A checkpoint that is too large for the memory, its blocks read from disk whenever they run."""

from typing import Any

from layerwise.models.anatomy.decoder import find_parts
from layerwise.models.checkpoint.checkpoint import Checkpoint
from layerwise.models.loading.checked_weights import empty_model_and_weights
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.loading.taking_apart import count_parameters, tokenizer_for
from layerwise.models.machine.device import Placement
from layerwise.models.output_head.output_head import make_output_head
from layerwise.models.residency.assembly import stream


def load_streamed(name: str, checkpoint: Checkpoint, placement: Placement, hf_tokenizer: Any) -> LoadedModel:
    """Return a model that reads its blocks from disk whenever it runs."""
    device, dtype = placement.device, placement.dtype
    hf_model, weights = empty_model_and_weights(checkpoint, dtype)
    # Before embedding and unembedding leave the model, where they would not be counted any more.
    parameters, tokenizer = count_parameters(hf_model), tokenizer_for(hf_model, hf_tokenizer)
    parts = find_parts(hf_model)
    residency, unembedding = stream(hf_model, parts, weights, dtype, device, placement.budget or 0)
    return LoadedModel(
        name=name,
        hf=hf_model,
        tokenizer=tokenizer,
        parts=parts,
        output_head=make_output_head(hf_model.config, parts, unembedding),
        checkpoint=checkpoint,
        residency=residency,
        device=device,
        dtype=dtype,
        parameters=parameters,
    )
