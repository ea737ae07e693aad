"""A checkpoint whose GGUF file has one right reading."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One tiny checkpoint: an architecture, and the settings that set it apart."""

    name: str
    """`architecture/variant`."""
    architecture: str
    """What `general.architecture` of its file says."""
    config: str
    """The configuration class in transformers."""
    settings: dict[str, Any]
    lost: dict[str, Any] = field(default_factory=dict)
    """Settings that the file does not tell, with what llama.cpp takes in their place.

    The right reading of the file is then the original's weights under the settings of the file.
    """
    older: dict[str, Any] = field(default_factory=dict)
    """Names that published configurations have, that transformers has renamed, and that the converter reads."""

    keys: dict[str, Any] = field(default_factory=dict)
    """Keys as other versions of the converter write them, without the architecture; None for those that are missing."""

    @property
    def read_settings(self) -> dict[str, Any]:
        """The settings under which the original's weights are what the file says."""
        return self.settings | self.lost


def variants(architecture: str, config: str, usual: dict[str, Any], **changes: dict[str, Any]) -> list[Case]:
    """Return a case for each of `changes` of the `usual` settings.

    A change is made of settings, and of `lost`, `older` and `keys`, which mean what `Case` says.
    """
    cases = []
    for name, change in changes.items():
        settings = usual | change
        apart = {field: settings.pop(field, {}) for field in ("lost", "older", "keys")}
        cases.append(Case(f"{architecture}/{name.replace('_', '-')}", architecture, config, settings, **apart))
    return cases
