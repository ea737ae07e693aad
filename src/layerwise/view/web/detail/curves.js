// The chart's drawing: axes, curves of pinned tokens with what is only bounded told apart, milestones.

import { pinLook, pinMarker, svgElement, svgNumber } from "../shared/svg.js";
import { probability } from "../shared/text.js";

/** Where layers and probabilities lie in a plot of some size. `log` makes the vertical axis logarithmic. */
export function curveFrame({ width, height, nLayers, series, log }) {
  const [left, right, top, bottom] = [52, width - 14, 20, height - 36];
  const { low, high, ticks } = curveRange(series, log);
  const part = (p) => (log ? Math.log(Math.max(p, low) / low) / Math.log(high / low) : p / high);
  const step =
    [1, 2, 5, 10, 20, 50, 100, 200].find((one) => ((right - left) * one) / Math.max(1, nLayers) >= 26) ?? 500;
  return {
    width,
    height,
    left,
    right,
    top,
    bottom,
    nLayers,
    low,
    ticks,
    step,
    x: (layer) => svgNumber(left + ((right - left) * layer) / Math.max(1, nLayers)),
    y: (p) => svgNumber(bottom - (bottom - top) * part(p)),
    layerAt: (x) => Math.max(0, Math.min(nLayers, Math.round(((x - left) / (right - left)) * nLayers))),
  };
}

/** The whole drawing as one SVG element. `slots` says what each series' colour, dashes and marker go by. */
export function drawCurves(frame, series, slots, milestones) {
  const drawing = svgElement("svg", {
    class: "lw-curves",
    width: frame.width,
    height: frame.height,
    viewBox: `0 0 ${frame.width} ${frame.height}`,
    "aria-hidden": "true",
  });
  drawing.append(curveAxes(frame), curveMilestones(frame, milestones));
  const answerLast = series.toSorted((a, b) => Number(a.isAnswer) - Number(b.isAnswer));
  for (const one of answerLast) {
    const look = pinLook(slots.get(one.id));
    one.sides.forEach((points, side) => {
      const dash = one.sides.length === 1 ? look.dash : side ? "5 4" : null;
      drawing.append(curveGroup(frame, points, { ...look, dash, hollow: side === 1, answer: one.isAnswer }));
    });
  }
  return drawing;
}

// The axis begins at zero, or with `log` at the power of ten below what is shown, down to one in a billion.
function curveRange(series, log) {
  const points = series.flatMap((one) => one.sides.flat()).filter((point) => point !== null);
  const most = Math.max(...points.map((point) => point.high), 0);
  if (!log) {
    const high = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((one) => most <= one) ?? 1;
    return { low: 0, high, ticks: [0, 0.25, 0.5, 0.75, 1].map((part) => part * high) };
  }
  const known = points.flatMap((point) => [point.low, point.high]).filter((p) => p > 0);
  const least = Math.max(1e-9, Math.min(0.1, ...known));
  const decades = Math.ceil(-Math.log10(least) - 1e-9);
  const step = Math.max(1, Math.ceil(decades / 5));
  const powers = Array.from({ length: Math.floor(decades / step) + 1 }, (_, k) => 10 ** (-k * step));
  return { low: 10 ** -decades, high: 1, ticks: powers };
}

function curveAxes(frame) {
  const axes = svgElement("g", { class: "lw-axes" });
  for (const tick of frame.ticks) {
    const y = frame.y(tick);
    axes.append(svgElement("path", { class: "lw-gridline", d: `M${frame.left} ${y}H${frame.right}` }));
    axes.append(svgElement("text", { x: frame.left - 7, y, dy: "0.32em", "text-anchor": "end" }, curveTick(tick)));
  }
  for (let layer = 0; layer <= frame.nLayers; layer += frame.step) {
    const x = frame.x(layer);
    axes.append(svgElement("path", { class: "lw-tick", d: `M${x} ${frame.bottom}v4` }));
    axes.append(svgElement("text", { x, y: frame.bottom + 16, "text-anchor": "middle" }, String(layer)));
  }
  const middle = (frame.left + frame.right) / 2;
  axes.append(
    svgElement("text", { class: "lw-axis-title", x: middle, y: frame.height - 4, "text-anchor": "middle" }, "layer"),
  );
  return axes;
}

function curveTick(p) {
  if (p >= 0.0001 || p === 0) return `${Number((100 * p).toPrecision(3))} %`;
  return `10${[...String(Math.round(Math.log10(p)))].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit] ?? "⁻").join("")}`;
}

function curveMilestones(frame, milestones) {
  const group = svgElement("g", { class: "lw-milestones" });
  for (const { layers } of milestones) {
    layers.forEach((layer, side) => {
      if (layer === null) return;
      const x = frame.x(layer);
      group.append(svgElement("path", { class: "lw-milestone-line", d: `M${x} ${frame.top - 6}V${frame.bottom}` }));
      const flag = `M${x} ${frame.top - 14}l7 4l-7 4Z`;
      group.append(svgElement("path", { class: side ? "lw-flag lw-flag-hollow" : "lw-flag", d: flag }));
    });
  }
  return group;
}

// Known probabilities are points on a line. What is only bounded from above hangs, faint, under a short bar.
function curveGroup(frame, points, { class: colour, dash, marker, hollow, answer }) {
  const group = svgElement("g", { class: answer ? `${colour} lw-curve-answer` : colour });
  const unsure = (point) => point !== null && point.high > point.low;
  const shown = (point) => point !== null && (point.low > 0 || !unsure(point));
  group.append(svgElement("path", { class: "lw-limit-line", d: curveLimits(frame, points, unsure) }));
  for (const [layer, point] of points.entries()) {
    if (!unsure(point)) continue;
    const [x, y] = [frame.x(layer), frame.y(point.high)];
    const down = Math.min(frame.bottom, point.low > 0 ? frame.y(point.low) : y + 9);
    group.append(svgElement("path", { class: "lw-limit", d: `M${x - 4} ${y}H${x + 4}M${x} ${y}V${down}` }));
  }
  const line = curveLine(
    frame,
    points.map((point) => (shown(point) ? point.low : null)),
  );
  group.append(svgElement("path", { class: "lw-curve", d: line, "stroke-dasharray": dash }));
  const every = Math.max(1, Math.ceil((9 * frame.nLayers) / (frame.right - frame.left)));
  for (const [layer, point] of points.entries()) {
    if (!shown(point)) continue;
    const alone = !shown(points[layer - 1] ?? null) && !shown(points[layer + 1] ?? null);
    if (layer % every && !alone && layer !== frame.nLayers) continue;
    group.append(pinMarker(marker, frame.x(layer), frame.y(point.low), { hollow: hollow || unsure(point) }));
  }
  return group;
}

function curveLine(frame, values) {
  let [line, drawing] = ["", false];
  for (const [layer, value] of values.entries()) {
    if (value !== null) line += `${drawing ? "L" : "M"}${frame.x(layer)} ${frame.y(value)}`;
    drawing = value !== null;
  }
  return line;
}

// The upper limits, joined to the known neighbours so that the eye can follow.
function curveLimits(frame, points, unsure) {
  const near = points.map((point, layer) => [layer - 1, layer, layer + 1].some((at) => unsure(points[at] ?? null)));
  return curveLine(
    frame,
    points.map((point, layer) => (point !== null && near[layer] ? point.high : null)),
  );
}

/** A bounded probability in words: 4.3 %, at most 0.2 %, 4.1 to 4.3 %. */
export function curveValue(point) {
  if (point === null) return "–";
  if (point.low === point.high) return probability(point.high);
  return point.low > 0 ? `${probability(point.low)} to ${probability(point.high)}` : `≤ ${probability(point.high)}`;
}
