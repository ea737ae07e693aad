"""A trace as a static HTML table, for notebooks. Every text in it is untrusted and escaped."""

from html import escape

from layerwise.text import one_line, probability, visible
from layerwise.tracing.summary import answer_label, answer_sentence, check_sentence
from layerwise.tracing.trace import Trace
from layerwise.types import TokenProb

_STYLE = "font-family:ui-monospace,monospace;font-size:12px;border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "text-align:left;padding:1px 8px;white-space:nowrap"


def html_table(trace: Trace) -> str:
    """Return the prompt's last position, one row per layer, with the checks below."""
    answer = [f"p({escape(answer_label(trace.answer.answers))})", "rank"] if trace.answer else []
    head = ["layer", "depth", *answer, "entropy", "likeliest tokens"]
    rows = "".join(_row(trace, layer) for layer in range(trace.n_layers + 1))
    titles = "".join(f'<th style="{_CELL}">{title}</th>' for title in head)
    sentences = "<br>".join(escape(said) for said in (answer_sentence(trace), check_sentence(trace)) if said)
    return (
        f'<div style="overflow-x:auto"><p><b>{escape(one_line(trace.model.name))}</b>, {escape(trace.lens)} lens: '
        f"{escape(one_line(trace.prompt))}</p>"
        f'<table style="{_STYLE}"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>'
        f"<p><small>{sentences}</small></p></div>"
    )


def _row(trace: Trace, layer: int) -> str:
    cells = [str(layer), f"{trace.depth[layer]:.2f}"]
    if trace.answer:
        cells += [escape(probability(float(trace.answer.prob[layer]))), str(trace.answer.rank[layer])]
    cells.append(f"{trace.entropy_bits[layer, trace.last]:.2f}")
    cells.append(" &nbsp; ".join(_token(token) for token in trace.top(layer)))
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _token(token: TokenProb) -> str:
    shade = f"background:rgba(0,114,178,{0.6 * token.prob:.2f})"
    # <bdi>: a right-to-left token must not pull its neighbours' numbers to its other side.
    return f'<bdi style="{shade}">{escape(visible(token.text))}</bdi>&nbsp;{escape(probability(token.prob))}'
