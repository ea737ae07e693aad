"""The models that layerwise knows by name, and how they stand on this machine."""

from dataclasses import dataclass

from layerwise.models.machine.device import Placement, placement_in_memory
from layerwise.models.sources.bundled import BUNDLED, is_pulled
from layerwise.models.sources.hub import cached
from layerwise.models.sources.names import ALIASES

_PARAMETERS = {
    "gemma-3-270m": 268_098_176,
    "smollm2-135m": 134_515_008,
    "qwen3-8b": 8_190_735_360,
    "llama-3-8b": 8_030_261_248,
    "mistral-7b": 7_241_732_096,
    "gemma-2-9b": 9_241_705_984,
}


@dataclass(frozen=True)
class KnownModel:
    """A name that `load` takes, and what it would mean here."""

    name: str
    source: str
    """``bundled``, or the hub id."""
    parameters: int
    download_bytes: int
    present: bool
    """Whether its files are on this machine."""
    placement: Placement | None
    """The first device with room, and the precision; None if there is none."""
    licence: str


def known_models() -> list[KnownModel]:
    """Return the bundled models, then the aliases of hub models."""
    bundled = [
        KnownModel(
            name=model.name,
            source="bundled",
            parameters=_PARAMETERS[model.name],
            download_bytes=model.size_bytes,
            present=is_pulled(model.name),
            placement=placement_in_memory(_PARAMETERS[model.name], "float32"),
            licence=model.licence,
        )
        for model in BUNDLED.values()
    ]
    aliases = [
        KnownModel(
            name=alias,
            source=repo_id,
            parameters=_PARAMETERS[alias],
            download_bytes=2 * _PARAMETERS[alias],
            present=cached(repo_id) is not None,
            placement=placement_in_memory(_PARAMETERS[alias], "bfloat16"),
            licence=f"see its page on the hub: {repo_id}",
        )
        for alias, repo_id in ALIASES.items()
    ]
    return bundled + aliases
