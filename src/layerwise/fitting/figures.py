"""What is said of a lens on held-out text. Needs no PyTorch."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figures:
    """What a lens says, beside what the model says, at held-out positions. Lists go along `layers`."""

    layers: tuple[int, ...]
    positions: int
    kl_bits: list[float]
    """Mean KL(output ‖ lens)."""
    logit_kl_bits: list[float]
    """The same of the logit lens."""
    top1_agreement: list[float]
    """Share of positions where the lens's likeliest token is the output's."""
    logit_top1_agreement: list[float]
    bias_bits: list[float]
    """KL of the mean distributions, output ‖ lens: what it says too often or too rarely whatever it reads."""
    logit_bias_bits: list[float]

    def described(self) -> dict[str, Any]:
        """Return what a lens's card says."""
        told = asdict(self)
        del told["layers"]
        return {key: [round(v, 5) for v in value] if isinstance(value, list) else value for key, value in told.items()}
