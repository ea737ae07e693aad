"""Where and with what was measured."""

import datetime
import os
import platform

from layerwise.models.health.machine import processor
from layerwise.models.health.packages import installed_version

_PACKAGES = ("layerwise", "torch", "numba", "transformers", "transformer-lens", "tuned-lens", "nnterp", "nnsight")


def describe() -> dict[str, object]:
    """Return the date, the machine and the versions of all that was measured."""
    import torch

    return {
        "date": datetime.date.today().isoformat(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {package: found for package in _PACKAGES if (found := installed_version(package))},
    }
