"""Charts: data frames in, Altair charts out. The same for notebooks, reports and files."""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from layerwise.files import written_whole
from layerwise.text import visible
from layerwise.types import TokenProb

ANSWER, TRACKED, OTHER = "answer", "followed", "other"
"""What kind of token leads: the answer, one that was asked to be followed, or any other."""

# Okabe and Ito (2008), colours that colour-blind readers can tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#B8B8B8"
_PALETTE = [_BLUE, _ORANGE, _GREEN, _RED, "#CC79A7", "#56B4E9", "#999999"]
_KINDS = alt.Scale(domain=[ANSWER, TRACKED, OTHER], range=[_BLUE, _ORANGE, _GREY])
_ROOM_FOR_LABELS = 0.4
"""Of the probability axis, above 1: labels of tall bars stand there."""

_FONT = "DejaVu Sans, sans-serif"

AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart


def leading_tokens(frame: pd.DataFrame, title: str, subtitle: Sequence[str] = ()) -> AnyChart:
    """Return bars of the likeliest token at each layer, with the answer's probability as a line.

    Columns: layer, token (ready to show), prob, kind (`ANSWER`, `TRACKED` or `OTHER`) and, where
    there is an answer, answer_prob.
    """
    layers = alt.X("layer:O", title="layer (blocks done)", axis=alt.Axis(labelAngle=0, labelOverlap=True))
    base = alt.Chart(frame).encode(x=layers)
    bars = base.mark_bar(width={"band": 0.8}).encode(
        y=alt.Y(
            "prob:Q",
            title="probability",
            scale=alt.Scale(domain=[0, 1 + _ROOM_FOR_LABELS]),
            axis=alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1]),
        ),
        color=alt.Color("kind:N", title="likeliest token", scale=_KINDS),
        tooltip=["layer", "token", alt.Tooltip("prob:Q", format=".3f")],
    )
    layered = [bars, *_labels(base)]
    if "answer_prob" in frame:
        line = base.mark_line(color=_BLUE, strokeWidth=2, strokeDash=[5, 3], point={"color": _BLUE, "size": 22})
        layered.append(line.encode(y="answer_prob:Q"))
    chart: Any = alt.layer(*layered).properties(width=max(420, 24 * frame["layer"].nunique()), height=320)
    return _styled(chart.properties(title=alt.TitleParams(title, subtitle=list(subtitle), anchor="start")))


def _labels(base: alt.Chart) -> list[alt.Chart]:
    """Return the tokens' labels: upright, but a single character as it stands, or nobody could tell which it is."""
    short, label = "length(datum.token) <= 2", {"y": "prob:Q", "text": "token:N"}
    return [
        base.transform_filter(short).mark_text(dy=-9, fontSize=12).encode(**label),
        base.transform_filter(f"!({short})")
        .mark_text(angle=270, align="left", baseline="middle", dx=6, fontSize=11)
        .encode(**label),
    ]


def leading_frame(
    leaders: Sequence[TokenProb],
    answer_ids: Container[int] = (),
    followed_ids: Container[int] = (),
    answer_probs: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Return the columns of `leading_tokens` from the likeliest token at each layer, 0 to n."""
    frame = pd.DataFrame(
        {
            "layer": range(len(leaders)),
            "token": [visible(leader.text, limit=14) for leader in leaders],
            "prob": [leader.prob for leader in leaders],
            "kind": [
                ANSWER if leader.id in answer_ids else TRACKED if leader.id in followed_ids else OTHER
                for leader in leaders
            ],
        }
    )
    return frame if answer_probs is None else frame.assign(answer_prob=list(answer_probs))


def lines(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    colour: str,
    x_title: str,
    y_title: str,
    title: str,
    log_rank: bool = False,
    y_domain: tuple[float, float] | None = None,
) -> AnyChart:
    """Return one line per value of `colour`. With `log_rank`, rank 1 is on top of a log axis."""
    scale = alt.Scale(type="log", reverse=True) if log_rank else alt.Scale(domain=y_domain) if y_domain else alt.Scale()
    chart = (
        alt.Chart(frame)
        .mark_line(point={"size": 22}, strokeWidth=2)
        .encode(
            x=alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(format="~g")),
            y=alt.Y(f"{y}:Q", title=y_title, scale=scale),
            color=alt.Color(f"{colour}:N", title=None, scale=alt.Scale(range=_PALETTE), sort=None),
            strokeDash=alt.StrokeDash(f"{colour}:N", title=None, sort=None),
            tooltip=[x, colour, alt.Tooltip(f"{y}:Q", format=".4g")],
        )
        .properties(width=520, height=240, title=alt.TitleParams(title, anchor="start"))
    )
    return _styled(chart)


def heatmap(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    x_title: str,
    y_title: str,
    value_title: str,
    title: str,
    subtitle: Sequence[str] = (),
    limit: float = 1.0,
    label: str | None = None,
) -> AnyChart:
    """Return a cell per row: orange below 0, white at 0, blue above, no stronger beyond `limit`; `y` goes upwards.

    Columns: those named, and reached: cells that nothing can reach are grey. `label` stands in each cell.
    """
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:N", title=x_title, sort=None, axis=alt.Axis(labelAngle=-45, grid=False)),
        y=alt.Y(f"{y}:O", title=y_title, sort="descending", axis=alt.Axis(grid=False, labelOverlap=True)),
        tooltip=[x, y, alt.Tooltip(f"{value}:Q", format=".3f")],
    )
    colours = alt.Scale(domain=[-limit, 0, limit], range=[_ORANGE, "#FFFFFF", _BLUE], clamp=True, interpolate="rgb")
    reached = base.transform_filter("datum.reached").mark_rect(stroke="#EEEEEE", strokeWidth=0.5)
    others = base.transform_filter("!datum.reached").mark_rect(color="#E4E4E4", stroke="#EEEEEE", strokeWidth=0.5)
    coloured = reached.encode(color=alt.Color(f"{value}:Q", title=value_title, scale=colours))
    texts = [base.mark_text(fontSize=8).encode(text=f"{label}:N")] if label else []
    layered: Any = alt.layer(others, coloured, *texts).properties(
        width=max(160, (44 if label else 26) * frame[x].nunique()),
        height=max(160, 13 * frame[y].nunique()),
        title=alt.TitleParams(title, anchor="start", subtitle=[*subtitle]),
    )
    return _styled(layered)


def write_png_and_svg(chart: AnyChart, stem: Path) -> None:
    """Write a chart as `stem`.png (larger than nominal, for sharp text) and `stem`.svg."""
    for suffix, scale in ((".png", 1.6), (".svg", 1.0)):
        with written_whole(stem.parent / (stem.name + suffix)) as scratch:
            chart.save(str(scratch), scale_factor=scale)


def _styled(chart: AnyChart) -> AnyChart:
    styled: Any = (
        chart.configure(font=_FONT, background="white", padding=12)
        .configure_view(stroke=None)
        .configure_axis(grid=True, gridColor="#EEEEEE", domainColor="#888888", tickColor="#888888")
        .configure_title(fontSize=14, subtitleFontSize=12, subtitleColor="#555555")
        .configure_legend(orient="bottom")
    )
    return styled  # altair's own annotations widen the type at every step


def bands(
    frame: pd.DataFrame,
    *,
    facet: str,
    colour: str,
    x_title: str,
    y_title: str,
    title: str,
    columns: int = 3,
    size: tuple[int, int] = (200, 130),
    x: str = "depth",
    y_domain: tuple[float, float] = (0, 1),
) -> AnyChart:
    """Return small multiples, one per value of `facet`: a line per value of `colour` with its interval as a band.

    Columns: value, low, high, n, and those named. `size` is a panel's width and height, in pixels.
    """
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(format="~g")),
        color=alt.Color(
            f"{colour}:N",
            title=None,
            scale=alt.Scale(range=_PALETTE),
            sort=None,
            legend=alt.Legend(symbolOpacity=1, symbolType="stroke"),
        ),
    )
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("low:Q", title=y_title, scale=alt.Scale(domain=y_domain)), y2=alt.Y2("high:Q")
    )
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("value:Q", title=y_title),
        tooltip=[colour, facet, alt.Tooltip(f"{x}:Q", format=".2~f"), alt.Tooltip("value:Q", format=".3f"), "n"],
    )
    layered: Any = alt.layer(band, line).properties(width=size[0], height=size[1])
    chart = layered.facet(facet=alt.Facet(f"{facet}:N", title=None, sort=[*frame[facet].unique()]), columns=columns)
    return _styled(chart.properties(title=alt.TitleParams(title, anchor="start")))


def intervals(
    frame: pd.DataFrame,
    *,
    y: str,
    colour: str,
    x_title: str,
    title: str,
    x_domain: tuple[float, float] | None = None,
    zero_line: bool = False,
) -> AnyChart:
    """Return a point with its interval for each value of `y` and `colour`. Columns: value, low, high, and those two."""
    scale = alt.Scale(domain=x_domain) if x_domain else alt.Scale(zero=False)
    base = alt.Chart(frame).encode(
        y=alt.Y(f"{y}:N", title=None, sort=None),
        yOffset=alt.YOffset(f"{colour}:N", sort=None),
        color=alt.Color(f"{colour}:N", title=None, scale=alt.Scale(range=_PALETTE), sort=None),
    )
    rule = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x_title, scale=scale), x2=alt.X2("high:Q"))
    point = base.mark_point(filled=True, size=50, opacity=1).encode(
        x=alt.X("value:Q", title=x_title, scale=scale),
        tooltip=[y, colour, *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")), "n"],
    )
    layers = [rule, point]
    if zero_line:
        zero = alt.Chart(pd.DataFrame({"zero": [0]}))
        layers.append(zero.mark_rule(color="#444444", strokeDash=[4, 3]).encode(x="zero:Q"))
    chart: Any = alt.layer(*layers).properties(width=420, height=alt.Step(16))
    return _styled(chart.properties(title=alt.TitleParams(title, anchor="start")))
