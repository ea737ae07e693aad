"""From a name, or a model in memory, to the public model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from layerwise.errors import ModelError
from layerwise.models.loading.by_name import load_model
from layerwise.models.loading.in_memory import model_in_memory
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.sources.spec import ModelSpec
from layerwise.readout.kernel import warm_up
from layerwise.tracing.model import Model
from layerwise.tracing.output_transform import measured
from layerwise.tracing.without_gradients import without_gradients
from layerwise.types import Progress


def load(
    name: str | Path | Any,
    *,
    tokenizer: Any = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    memory: str | int = "auto",
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Return a model by bundled name, alias, hub id, folder or GGUF file, or one already in memory.

    `layerwise.load("gemma-3-270m")`, `load("Qwen/Qwen3-8B", revision="main")`, `load("./folder")`,
    `load("model.gguf")`, `load(hf_model, tokenizer=hf_tokenizer)`.

    Args:
        name: see above. `layerwise models` lists the names.
        tokenizer: only with a transformers model in memory.
        revision: branch, tag or commit on the hub.
        device: ``auto`` (cuda, mps, cpu: the first with room), or one of those.
        dtype: ``auto`` (the checkpoint's; float32 on the CPU where that fits), ``float32``,
            ``bfloat16`` or ``float16``.
        memory: how much this process may take, as in ``4GB``: a larger model is streamed, a few
            blocks at a time from disk. ``auto``: what is free.
        trust_remote_code: run the Python code that comes with an architecture which transformers
            doesn't know. It may do anything on this machine: read it before.
        progress: called with (what, done, total) during downloads and preparation.

    Raises:
        ModelError: one of its subclasses says what is wrong and what to do.
    """
    if not isinstance(name, str | Path):
        how = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
        return _ready(lambda: model_in_memory(name, tokenizer, **how), progress)
    if tokenizer is not None:
        raise ModelError("tokenizer= belongs to a transformers model in memory; a name brings its own tokenizer.")
    return load_spec(ModelSpec(name, revision, device, dtype, memory, trust_remote_code), progress)


def load_spec(spec: ModelSpec, progress: Progress | None = None) -> Model:
    """Return the model that a spec describes: `load` for what was sent from elsewhere. Raises as `load` does."""
    return _ready(lambda: load_model(spec, progress), progress)


def _ready(take: Callable[[], LoadedModel], progress: Progress | None) -> Model:
    with without_gradients():
        loaded = take()
        if progress:
            progress("preparing the readout", 0, None)
        with loaded.evaluating():
            loaded = measured(loaded)
        warm_up(loaded.output_head, loaded.device)
    return Model(loaded)
