"""A model by its name: a bundled one, the hub's, a folder or a file."""

from layerwise.models.checkpoint.checkpoint import locate
from layerwise.models.libraries.quiet import quiet_transformers
from layerwise.models.loading.checked_weights import expect_unpacked
from layerwise.models.loading.decoders import expect_decoder
from layerwise.models.loading.from_files import read_tokenizer
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.loading.random_weights import load_random
from layerwise.models.loading.streamed import load_streamed
from layerwise.models.loading.taking_apart import take_apart
from layerwise.models.loading.whole import read_whole
from layerwise.models.machine.device import give_back_memory, placement_for
from layerwise.models.sources.names import resolve
from layerwise.models.sources.spec import ModelSpec
from layerwise.models.weights.expectations import expect_finite
from layerwise.types import Progress


def load_model(spec: ModelSpec, progress: Progress | None = None) -> LoadedModel:
    """Return a model that is ready to be read.

    Args:
        spec: which, and how.
        progress: called with (what, done, total) during downloads and preparation.

    Raises:
        ModelError: one of its subclasses says what is wrong and what to do.
    """
    name, how = str(spec.name), (spec.device, spec.dtype, spec.memory)
    checkpoint = locate(resolve(spec.name, spec.revision), progress, trust_remote_code=spec.trust_remote_code)
    facts = checkpoint.facts
    expect_decoder(facts.config, name, trust_remote_code=spec.trust_remote_code)
    if checkpoint.source.random:
        return load_random(name, checkpoint, *how)
    placement = placement_for(facts.parameters, facts.dtype, *how)
    if placement.budget is not None:
        expect_unpacked(checkpoint, name)
    with quiet_transformers():
        hf_tokenizer = read_tokenizer(checkpoint)
        give_back_memory()
        if placement.budget is not None:
            return load_streamed(name, checkpoint, placement, hf_tokenizer)
        hf_model = read_whole(checkpoint, placement, progress)
        expect_finite(hf_model, name)
        return take_apart(name, hf_model, hf_tokenizer, checkpoint)
