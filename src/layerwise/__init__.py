"""See how a language model's prediction forms, layer by layer, with numbers that are checked."""

# Nothing is imported here that Python has not got yet: until the command line has begun, Ctrl-C ends in its traceback.
import os
import sys

if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    # PyTorch's threads read it once, when PyTorch is imported: `layerwise.models.machine.waiting` says what for.
    os.environ["GOMP_SPINCOUNT"] = "5000"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from layerwise.causal.ablation import ablate
    from layerwise.causal.confirm import confirm
    from layerwise.causal.patching import patch
    from layerwise.causal.patchscope import patchscope
    from layerwise.causal.steering import steer
    from layerwise.errors import LayerwiseError
    from layerwise.evaluation.evaluate import evaluate_lenses
    from layerwise.lenses.reading import load_lens
    from layerwise.readout.lenses import Lens
    from layerwise.sites import Site
    from layerwise.store.run import Run, open_run
    from layerwise.tracing.lens_fitting import fit_lens
    from layerwise.tracing.loading import load
    from layerwise.tracing.model import Model
    from layerwise.tracing.request import Request
    from layerwise.tracing.trace import Trace
    from layerwise.types import ModelInfo, Token, TokenProb
    from layerwise.view.shown import show

__all__ = [
    "LayerwiseError",
    "Lens",
    "Model",
    "ModelInfo",
    "Request",
    "Run",
    "Site",
    "Token",
    "TokenProb",
    "Trace",
    "ablate",
    "confirm",
    "evaluate_lenses",
    "fit_lens",
    "load",
    "load_lens",
    "open_run",
    "patch",
    "patchscope",
    "show",
    "steer",
]

_HOMES = {
    "LayerwiseError": "layerwise.errors",
    "Lens": "layerwise.readout.lenses",
    "Model": "layerwise.tracing.model",
    "ModelInfo": "layerwise.types",
    "Request": "layerwise.tracing.request",
    "Run": "layerwise.store.run",
    "Site": "layerwise.sites",
    "Token": "layerwise.types",
    "TokenProb": "layerwise.types",
    "Trace": "layerwise.tracing.trace",
    "ablate": "layerwise.causal.ablation",
    "confirm": "layerwise.causal.confirm",
    "evaluate_lenses": "layerwise.evaluation.evaluate",
    "fit_lens": "layerwise.tracing.lens_fitting",
    "load": "layerwise.tracing.loading",
    "load_lens": "layerwise.lenses.reading",
    "open_run": "layerwise.store.run",
    "patch": "layerwise.causal.patching",
    "patchscope": "layerwise.causal.patchscope",
    "show": "layerwise.view.shown",
    "steer": "layerwise.causal.steering",
}

_DISPLAYS = {
    "layerwise.tracing.trace.Trace": "layerwise.view.shown:shown_trace",
    "layerwise.store.run.Run": "layerwise.view.shown:shown_run",
    "layerwise.causal.grid.Patching": "layerwise.view.shown:shown_patching",
}
"""What shows which kind of record (`layerwise.display`): ``module:function``, given the record, returns its Display."""


def __getattr__(name: str) -> "Any":
    """Import a public name when it is first used: PyTorch alone takes seconds."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'layerwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
