"""Loading the model that a command's options name."""

from typing import TYPE_CHECKING, Any

from layerwise.types import Progress

if TYPE_CHECKING:
    from layerwise.tracing.model import Model


def loaded_for(
    model: str,
    progress: Progress,
    trust_remote_code: bool,
    revision: str | None,
    device: str,
    dtype: str,
    memory: str | int,
) -> "Model":
    """Load a model as a command's options say."""
    from layerwise.tracing.loading import load

    progress(f"loading {model}", 0, None)
    how: dict[str, Any] = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
    return load(model, trust_remote_code=trust_remote_code, progress=progress, **how)
