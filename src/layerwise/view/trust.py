"""How far a trace's numbers are to be trusted, in a badge; and where a lens says nothing about the prediction."""

from typing import Any

import numpy as np

from layerwise.interventions.written import shown
from layerwise.lens_spec import caveat_of, ends_at_output
from layerwise.text import visible
from layerwise.tracing.answer_sentences import spelling_hint
from layerwise.tracing.check_sentences import check_sentences
from layerwise.tracing.trace import Checks, Trace
from layerwise.types import ModelInfo

_MOST = 0.5
"""Of the positions read: what holds at more of them is said of the layer."""


def trust(checks: Checks | None, model: ModelInfo, lens: str) -> dict[str, Any]:
    """Return `level` and `sentences` of the badge that every view carries.

    ``good``: the logit lens or a fitted one in float32, with layer n checked against the model's own forward pass, and
    on an accelerator against the CPU too within the same limit. ``stated``: something is known to be off, or was not
    checked; the sentences say what, and by how much.
    """
    good = checks is not None and _agrees(checks, model) and model.dtype == "float32" and ends_at_output(lens)
    return {"level": "good" if good else "stated", "sentences": check_sentences(checks, model, lens)}


def _agrees(checks: Checks, model: ModelInfo) -> bool:
    """Return whether what ran here is known to be what a CPU computes."""
    if checks.device_error is None:
        return model.device == "cpu"
    return checks.device_error <= checks.identity_limit


def warnings(trace: Trace) -> list[str]:
    """Return edits, what the trace notes, what its lens does not show, and of which layers it is no early prediction.

    Two things are looked for, each at more than half of the positions that were read:

    - *Worse than no knowledge.* Somebody who spreads probability evenly over the vocabulary is at KL(output ‖ uniform)
      = log₂ V − H(output) from the output, hence never further than log₂ V bits. A layer with KL(output ‖ layer) beyond
      that is sure of something that the model does not come to. With tied embeddings this is the rule in the first
      layers, which read back the token that was put in.
    - *The same token everywhere.* One token leads at most positions, at ones where the output has others, and so says
      nothing about any of them. Asked only where eight positions or more were read: below, chance does it.
    """
    uniform = float(np.log2(trace.model.vocab_size))
    worse = (trace.kl_from_final_bits > uniform).mean(axis=1) > _MOST
    said = []
    if worse.any():
        where = "" if len(trace.positions) == 1 else ", at most positions,"
        said.append(
            f"What the {trace.lens} lens shows at {_layers(worse)} is no early form of the prediction: there{where} it "
            f"is further from the output than no knowledge at all would be ({uniform:.1f} bits, an even spread over "
            f"the vocabulary){_echoes(trace, worse)}."
        )
    edited = [f"What is shown is of a pass that was changed: {shown(edit)}." for edit in trace.edits]
    beside = [each for each in (spelling_hint(trace), caveat_of(trace.lens)) if each]
    return [*edited, *trace.notes, *beside, *said, *_constant(trace)]


def _echoes(trace: Trace, layers: np.ndarray) -> str:
    """Say so where that is because the lens reads back the token that was put in."""
    put_in = np.array([token.id for token in trace.tokens + trace.generated])[list(trace.positions)]
    echoes = layers & ((trace.top_ids[:, :, 0] == put_in).mean(axis=1) > _MOST)
    return f"; at {_layers(echoes)} it reads back the token that was put in" if echoes.any() else ""


def _constant(trace: Trace) -> list[str]:
    """Return a sentence on layers at which one token leads wherever one looks."""
    if len(trace.positions) < 8:
        return []
    final, found = trace.top_ids[-1, :, 0], {}
    for layer, leading in enumerate(trace.top_ids[:-1, :, 0]):
        ids, counts = np.unique(leading, return_counts=True)
        most = ids[counts.argmax()]
        if ((leading == most) & (final != most)).mean() > _MOST:
            found.setdefault(int(most), np.zeros(len(trace.top_ids), dtype=bool))[layer] = True
    return [
        f"At {_layers(layers)} the same token, “{visible(trace.texts[token], limit=24)}”, leads at most positions, "
        "whatever the text: it says nothing about this one."
        for token, layers in found.items()
    ]


def _layers(which: np.ndarray) -> str:
    """Return layers as ranges, ``layers 0 to 3 and 7``, or where they are scattered as a count."""
    at = np.flatnonzero(which)
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    if len(runs) > 3:
        return f"{len(at)} of the layers from {at[0]} to {at[-1]}"
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{'layer' if len(at) == 1 else 'layers'} {listed}"
