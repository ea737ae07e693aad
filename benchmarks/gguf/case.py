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
    untold: str = ""
    """Why a file like this can't be told from another one with other weights' meaning; empty where it can."""

    @property
    def read_settings(self) -> dict[str, Any]:
        """The settings under which the original's weights are what the file says."""
        return self.settings | self.lost


def variants(architecture: str, config: str, usual: dict[str, Any], **changes: dict[str, Any]) -> list[Case]:
    """Return a case for each of `changes` of the `usual` settings.

    A change is made of settings, and of `lost` and `older`, which have the meaning that `Case` says.
    """
    return [
        Case(
            f"{architecture}/{name.replace('_', '-')}",
            architecture,
            config,
            usual | {key: value for key, value in change.items() if key not in ("lost", "older")},
            lost=change.get("lost", {}),
            older=change.get("older", {}),
        )
        for name, change in changes.items()
    ]
