"""Traces as a data frame."""

import numpy as np
import pandas as pd

from layerwise.tracing.layer_measures import ANSWER_CURVES
from layerwise.tracing.trace import Trace


def frame_of(trace: Trace) -> pd.DataFrame:
    """Return one row per layer and position.

    Columns: layer, depth, position, token (the text at that position), the measures, the likeliest
    tokens (`top_id`, `top_text`, `top_prob`), the answer's numbers at the prompt's last position
    (`answer_…`, empty elsewhere), and per tracked token `prob TEXT` and `rank TEXT`.
    """
    n, count = trace.n_layers + 1, len(trace.positions)
    read_behind = trace.tokens + trace.generated
    columns: dict[str, object] = {
        "layer": np.repeat(np.arange(n), count),
        "depth": np.repeat(trace.depth, count),
        "position": np.tile(trace.positions, n),
        "token": [read_behind[position].text for position in trace.positions] * n,
        "top_id": trace.top_ids[..., 0].ravel(),
        "top_text": [trace.texts[int(i)] for i in trace.top_ids[..., 0].ravel()],
        "top_prob": np.exp(trace.top_logprobs[..., 0]).ravel(),
    }
    columns |= {name: values.ravel() for name, values in trace.measures.items()}
    frame = pd.DataFrame(columns)
    if trace.answer:
        at_answer = frame["position"] == trace.positions[trace.last]
        for name, values in trace.answer.curves.items():
            if ANSWER_CURVES[name].shown:
                frame.loc[at_answer, f"answer_{name}"] = values
    for tracked in trace.tracked:
        frame[f"prob {tracked.token.text}"] = np.exp(tracked.logprob).ravel()
        frame[f"rank {tracked.token.text}"] = tracked.rank.ravel()
    return frame
