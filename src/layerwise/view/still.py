"""A document as static HTML, for where no script may run. Every text in it is untrusted and escaped."""

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from layerwise.text import one_line, probability, visible
from layerwise.view.document import Json, unpacked

_STYLE = "font-family:ui-monospace,monospace;font-size:12px;border-collapse:collapse;font-variant-numeric:tabular-nums"
_OWN_QUESTIONS = 100

_CELL = "text-align:left;vertical-align:top;padding:1px 8px"


def still_html(document: Json) -> str:
    """Return a table for each trace, of what was read after its prompt; of the study; and for each patch grid."""
    parts = [_trace(trace) for trace in document["traces"]]
    if document["study"]:
        parts.append(_study(document["study"]))
    parts += [_grid(patching, grid) for patching in document.get("patchings", []) for grid in patching["grids"]]
    return "".join(f'<div style="overflow-x:auto">{part}</div>' for part in parts)


def _trace(trace: Json) -> str:
    answer = trace["answer"]
    titles = ["layer", "depth", *(["p(answer)", "rank"] if answer else []), "entropy", "likeliest tokens"]
    place = trace["positions"].index(len(trace["tokens"]) - trace["generated"] - 1)
    texts = dict(zip(trace["texts"]["ids"], trace["texts"]["texts"], strict=True))
    ids, logprobs = (unpacked(trace[name])[:, place] for name in ("top_ids", "top_logprobs"))
    entropy = unpacked(trace["measures"]["entropy_bits"])[:, place]
    columns = [unpacked(answer[name]) for name in ("prob", "rank")] if answer else []
    rows = []
    for layer in range(len(ids)):
        cells = [str(layer), f"{layer / trace['n_layers']:.2f}"]
        if answer:
            cells += [escape(probability(float(columns[0][layer]))), str(columns[1][layer])]
        tokens = [
            _token(texts[i], float(np.exp(lp))) for i, lp in zip(ids[layer].tolist(), logprobs[layer], strict=True)
        ]
        rows.append([*cells, f"{entropy[layer]:.2f}", " &nbsp; ".join(tokens)])
    said = [*_answer_said(answer), *trace["warnings"], *trace["trust"]["sentences"]]
    name, lens, prompt = _shown(trace["model"]["name"]), escape(trace["lens"]), _shown(trace["prompt"])
    return (
        f"<p><b>{name}</b>, {lens} lens: {prompt}</p>{_table(titles, rows)}"
        f"<p><small>{'<br>'.join(escape(each) for each in said)}</small></p>"
    )


def _answer_said(answer: Json | None) -> list[str]:
    if answer is None:
        return []
    where = " after the tokens before it" if answer["deciding"]["index"] else ""
    asked = " or ".join(visible(text) for text in answer["texts"])
    return [f"Answer: {asked}, decided by {visible(answer['deciding']['text'])}{where}."]


def _token(text: str, prob: float) -> str:
    shade = f"background:rgba(0,114,178,{0.6 * prob:.2f})"
    # <bdi>: a right-to-left token must not pull its neighbours' numbers to its other side.
    return f'<bdi style="{shade}">{escape(visible(text))}</bdi>&nbsp;{escape(probability(prob))}'


def _study(study: Json) -> str:
    claims = [[_shown(each[name]) for name in ("model", "sentence", "verdict")] for each in study["claims"]]
    cells = [
        [
            *(_shown(each[name]) for name in ("model", "set", "direction")),
            str(each["questions"]),
            _share(each["known"]),
        ]
        for each in study["cells"]
        if each["wording"] is None
    ]
    return (
        f"<p><b>{_shown(study['title'])}</b>, {escape(study['lens'])} lens</p>"
        f"{_table(['model', 'claim', 'verdict'], claims)}"
        f"{_table(['model', 'set', 'direction', 'questions', 'answers known'], cells)}"
        f"{_table(['model', 'question', 'answer', 'probability', 'leads from layer'], _own_questions(study))}"
    )


def _own_questions(study: Json) -> list[list[str]]:
    """Return the first questions that stand in no set: no cell tells of them."""
    names = ("model", "set", "prompt", "answer", "output_prob", "settled_top1")
    rows = zip(*(study["questions"][name] for name in names), strict=True)
    own = [(model, *told) for model, question_set, *told in rows if not question_set][:_OWN_QUESTIONS]
    return [
        [
            *(_shown(text) for text in (study["models"][model], prompt, answer)),
            "–" if prob is None else escape(probability(prob)),
            "–" if layer is None else str(layer),
        ]
        for model, prompt, answer, prob, layer in own
    ]


def _grid(patching: Json, grid: Json) -> str:
    """Return a patch grid's recovery, or where there is nothing to recover its first measure; – outside of its cone."""
    name, values = next(iter(grid["values"].items()))
    numbers, reached = unpacked(values), unpacked(grid["cone"])
    texts = [text for _, text in patching["corrupted" if patching["direction"] == "denoise" else "clean"]]
    titles = [f"head {head}" for head in grid["heads"]] if "heads" in grid else [texts[at] for at in grid["positions"]]
    rows = [
        [str(block), *(f"{value:.2f}" if reach else "–" for value, reach in zip(*row, strict=True))]
        for block, *row in reversed([*zip(grid["blocks"], numbers, reached, strict=True)])
    ]
    said = f"{grid['kind']}: {name.replace('_', ' ')}, {patching['direction']}"
    heads = ["block", *(f"<bdi>{escape(visible(title))}</bdi>" for title in titles)]
    return f"<p><b>{_shown(patching['model']['name'])}</b>, {escape(said)}</p>{_table(heads, rows)}"


def _share(found: dict[str, Any] | None) -> str:
    return "–" if found is None else f"{found['value']:.0%} [{found['low']:.0%}, {found['high']:.0%}]"


def _table(titles: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    body = "".join(_row("td", row) for row in rows)
    return f'<table style="{_STYLE}"><thead>{_row("th", titles)}</thead><tbody>{body}</tbody></table>'


def _row(tag: str, cells: Iterable[str]) -> str:
    inside = "".join(f'<{tag} style="{_CELL}">{cell}</{tag}>' for cell in cells)
    return f"<tr>{inside}</tr>"


def _shown(text: str | None) -> str:
    return "–" if text is None else f"<bdi>{escape(one_line(text, limit=300))}</bdi>"
