// The linked chart: probabilities of the pinned tokens over the layers, after the focused token.

import { curveFrame, curveValue, drawCurves } from "./curves.js";
import { reachedMilestones } from "./milestones.js";
import { createPinSlots, pinnedSeries, pinsToggled, shownPins } from "./pins.js";
import { pinLook, pinSwatch, svgElement } from "../shared/svg.js";
import { element, tokenElement } from "../shared/text.js";

/** The chart with its legend: `element` and `update()`. A click or an arrow key chooses a layer. */
export function createChart(context) {
  const chart = { context, slotsOf: createPinSlots(), drawn: "", width: 0, trace: null };
  chartBuild(chart);
  new ResizeObserver(([entry]) => {
    chart.width = Math.round(entry.contentRect.width);
    chartUpdate(chart);
  }).observe(chart.plot);
  return { element: chart.element, update: () => chartUpdate(chart) };
}

function chartBuild(chart) {
  const focusLayer = (layer) => chart.context.state.set({ layer });
  chart.title = element("h3", { class: "lw-chart-title" });
  chart.scale = element("button", {
    class: "lw-chart-scale",
    attrs: { type: "button" },
    on: { click: () => chart.context.state.set({ log: !chart.context.state.get().log }) },
  });
  chart.reset = element("button", {
    text: "Default pins",
    attrs: { type: "button" },
    on: { click: () => chart.context.state.set({ pins: null }) },
  });
  chart.tip = element("div", { class: "lw-chart-tip", attrs: { "aria-hidden": "true", hidden: true } });
  chart.plot = element("div", {
    class: "lw-chart-plot",
    attrs: { role: "slider", tabindex: "0", "aria-label": "Layer", "aria-valuemin": "0" },
    on: {
      pointermove: (event) => chart.frame && chartHover(chart, chartLayerUnder(chart, event)),
      pointerleave: () => chart.frame && chartHover(chart, null),
      click: (event) => chart.frame && focusLayer(chartLayerUnder(chart, event)),
      keydown(event) {
        const layer = chartKeyed(chart, event.key);
        if (layer === null || event.altKey || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        focusLayer(layer);
      },
    },
  });
  chart.legend = element("ul", { class: "lw-chart-legend", attrs: { "aria-label": "Pinned tokens" } });
  chart.key = element("p", { class: "lw-chart-key" });
  chart.milestones = element("div", {
    class: "lw-chart-milestones",
    attrs: { role: "group", "aria-label": "Milestones" },
  });
  const head = element("div", { class: "lw-chart-head" }, chart.title, chart.reset, chart.scale);
  const side = element("div", { class: "lw-chart-side" }, chart.legend, chart.key);
  const body = element("div", { class: "lw-chart-body" }, chart.plot, side);
  chart.element = element(
    "section",
    { class: "lw-chart", attrs: { "aria-label": "Trajectories" } },
    head,
    body,
    chart.milestones,
  );
}

function chartUpdate(chart) {
  const trace = chart.context.trace();
  const { layer, place, pins, variants, log } = chart.context.state.get();
  if (!trace || !chart.width) return;
  const wanted = JSON.stringify([place, pins, variants, log, chart.width]);
  if (trace !== chart.trace || wanted !== chart.drawn) {
    chart.trace = trace;
    chart.drawn = wanted;
    chartDraw(chart, place, variants);
  }
  const x = chart.frame.x(layer);
  chart.focus.setAttribute("d", `M${x} ${chart.frame.top - 6}V${chart.frame.bottom}`);
  chart.plot.setAttribute("aria-valuenow", String(layer));
  const told = chart.series.map((one) => `${chartName(one)} ${chartNumbers(one, layer)}`);
  chart.plot.setAttribute("aria-valuetext", `Layer ${layer} of ${trace.nLayers}. ${told.join(", ")}`);
  for (const [index, one] of chart.series.entries()) chart.numbers[index].textContent = chartNumbers(one, layer);
}

function chartDraw(chart, place, variants) {
  const { context, trace } = chart;
  const state = context.state.get();
  chart.series = pinnedSeries(trace, place, shownPins(trace, state, place), variants);
  chart.slots = chart.slotsOf(chart.series.map((one) => one.id));
  const height = Math.max(230, Math.min(340, Math.round(chart.width * 0.46)));
  chart.frame = curveFrame({
    width: chart.width,
    height,
    nLayers: trace.nLayers,
    series: chart.series,
    log: state.log,
  });
  const reached = place === trace.promptPlace ? reachedMilestones(trace) : [];
  const drawing = drawCurves(chart.frame, chart.series, chart.slots, reached);
  chart.focus = svgElement("path", { class: "lw-focus-line" });
  chart.guide = svgElement("path", { class: "lw-guide-line" });
  drawing.prepend(chart.focus, chart.guide);
  chart.plot.replaceChildren(drawing, chart.tip);
  chart.plot.setAttribute("aria-valuemax", String(trace.nLayers));
  const position = trace.positions[place];
  chart.title.replaceChildren(
    "after ",
    tokenElement(trace.tokens[position].text),
    ` (position ${position}), layer by layer`,
  );
  chart.scale.textContent = state.log ? "Linear axis" : "Logarithmic axis";
  chart.reset.hidden = state.pins === null;
  chartLegend(chart, place);
  chart.milestones.replaceChildren(...reached.map((one) => chartMilestone(chart, one)));
}

function chartLegend(chart, place) {
  const { context, trace } = chart;
  const doubled = trace.kind === "difference";
  chart.numbers = chart.series.map(() => element("span", { class: "lw-legend-number" }));
  const unpin = (one) => {
    let pins = shownPins(trace, context.state.get(), place);
    for (const id of one.ids) if (pins.includes(id)) pins = pinsToggled(trace, { pins }, place, id);
    context.state.set({ pins });
    context.announce(`${chartName(one)} is no longer pinned`);
    chart.plot.focus();
  };
  const rows = chart.series.map((one, index) =>
    element(
      "li",
      { class: one.isAnswer ? "lw-legend-row lw-is-answer" : "lw-legend-row" },
      pinSwatch(pinLook(chart.slots.get(one.id)), doubled ? { dash: null } : {}),
      element(
        "span",
        { class: "lw-legend-name" },
        chartTokens(one),
        one.isAnswer ? element("small", { text: "answer" }) : null,
      ),
      chart.numbers[index],
      element("button", {
        class: "lw-legend-unpin",
        text: "×",
        attrs: { type: "button", "aria-label": `Unpin ${chartName(one)}`, title: "Unpin" },
        on: { click: () => unpin(one) },
      }),
    ),
  );
  chart.legend.replaceChildren(...rows);
  if (!rows.length) chart.legend.append(element("li", { class: "lw-legend-none", text: "No token is pinned." }));
  const bounded = chart.series.some((one) => one.sides.flat().some((point) => point && point.high > point.low));
  const told = [
    doubled ? "Solid: the first. Dashed: the second." : "",
    bounded ? "A faint bar: not among the tokens that were stored there, so at most this." : "",
  ];
  chart.key.textContent = told.filter(Boolean).join(" ");
}

function chartMilestone(chart, { title, layers }) {
  const [first, second] = layers;
  const shown = layers.length === 1 ? `layer ${first}` : `layer ${first ?? "–"} → ${second ?? "–"}`;
  return element(
    "button",
    {
      class: "lw-milestone",
      attrs: { type: "button", title: "Go to this layer" },
      on: { click: () => chart.context.state.set({ layer: first ?? second }) },
    },
    element("span", { class: "lw-milestone-name", text: title }),
    " ",
    element("span", { class: "lw-milestone-layer", text: shown }),
  );
}

function chartHover(chart, layer) {
  chart.tip.hidden = layer === null;
  chart.guide.setAttribute(
    "d",
    layer === null ? "" : `M${chart.frame.x(layer)} ${chart.frame.top}V${chart.frame.bottom}`,
  );
  if (layer === null) return;
  const size = (one) => Math.max(...one.sides.map((points) => points[layer]?.low ?? 0));
  const rows = chart.series
    .toSorted((a, b) => size(b) - size(a))
    .map((one) =>
      element(
        "div",
        { class: "lw-chart-tip-row" },
        pinSwatch(pinLook(chart.slots.get(one.id))),
        chartTokens(one),
        element("span", { class: "lw-legend-number", text: chartNumbers(one, layer) }),
      ),
    );
  chart.tip.replaceChildren(element("strong", { text: `Layer ${layer} of ${chart.trace.nLayers}` }), ...rows);
  const x = chart.frame.x(layer);
  const left = x > chart.width / 2 ? x - chart.tip.offsetWidth - 14 : x + 14;
  chart.tip.style.left = `${Math.max(0, left)}px`;
}

function chartLayerUnder(chart, event) {
  return chart.frame.layerAt(event.clientX - chart.plot.getBoundingClientRect().left);
}

function chartKeyed(chart, key) {
  const { layer } = chart.context.state.get();
  const last = chart.context.trace().nLayers;
  const moved = {
    ArrowLeft: layer - 1,
    ArrowDown: layer - 1,
    ArrowRight: layer + 1,
    ArrowUp: layer + 1,
    PageDown: layer - 5,
    PageUp: layer + 5,
    Home: 0,
    End: last,
  };
  return Object.hasOwn(moved, key) ? Math.max(0, Math.min(last, moved[key])) : null;
}

function chartNumbers(one, layer) {
  return one.sides.map((points) => curveValue(points[layer])).join(" → ");
}

function chartTokens(one) {
  const shown = one.texts.slice(0, 3).flatMap((text, index) => [index ? " " : null, tokenElement(text, { limit: 18 })]);
  return element(
    "span",
    { class: "lw-legend-tokens" },
    shown,
    one.texts.length > 3 ? ` +${one.texts.length - 3}` : null,
  );
}

function chartName(one) {
  const shown = tokenElement(one.texts[0]).textContent;
  return one.isAnswer ? `the answer ${shown}` : shown;
}
