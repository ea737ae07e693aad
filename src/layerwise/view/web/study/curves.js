// A measure by depth: for every set a small chart, one line per model with its interval as a band.

import { svgElement } from "../shared/svg.js";
import { element, quantity } from "../shared/text.js";
import { studySetName } from "./data.js";
import { studyModelClass, studyName, studyScale } from "./marks.js";

/** The measures that a study's curves show, as a chooser names them. */
export function studyMeasures(data) {
  const titles = new Map([
    ["answer_prob", { title: "the answer’s probability", unit: "probability", high: 1 }],
    ["entropy_bits", { title: "entropy", unit: "bits" }],
    ["kl_from_final_bits", { title: "KL(output ‖ layer)", unit: "bits" }],
    ["kl_to_final_bits", { title: "KL(layer ‖ output)", unit: "bits" }],
  ]);
  const keys = [...new Set(data.curves.map((curve) => curve.measure))];
  return keys.map((key) => ({ key, title: studyName(key), unit: "", ...titles.get(key) }));
}

/** Charts of one measure, one per set, on one scale. `tip(lines, at)` shows numbers. */
export function studyCurves(data, measure, set, tip) {
  const curves = data.curves.filter((curve) => curve.measure === measure.key && (set === null || curve.set === set));
  const high = measure.high ?? studyHighest(curves);
  const sets = [...new Set(curves.map((curve) => curve.set))];
  const charts = sets.map((name) => studyCurveChart(data, measure, curves.filter((curve) => curve.set === name), high, tip));
  return element("div", { class: "lw-study-curves" }, charts);
}

function studyHighest(curves) {
  const ends = curves.flatMap((curve) => curve.high.filter((value) => value !== null));
  const most = ends.reduce((a, b) => Math.max(a, b), 0) || 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return Math.ceil(most / step) * step;
}

function studyCurveChart(data, measure, curves, high, tip) {
  const [width, height, left, bottom] = [280, 150, 38, 22];
  const x = studyScale([0, 1], [left, width - 8]);
  const y = studyScale([0, high], [height - bottom, 8]);
  const shown = (value) => quantity(value, measure.unit);
  const guide = svgElement("line", { class: "lw-study-guide", y1: 8, y2: height - bottom, visibility: "hidden" });
  const said = curves.map((curve) => `${studyName(curve.model)}: ${shown(curve.value[0])} at depth 0, ${shown(curve.value.at(-1))} at the output`).join("; ");
  const drawing = svgElement("svg", { class: "lw-study-curve-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${studyName(studySetName(curves[0].set))}, ${measure.title} by depth, median over items with a known answer. ${said}` },
    [0, 0.5, 1].flatMap((part) => [
      svgElement("line", { class: "lw-study-rule", x1: left, x2: width - 8, y1: y(part * high), y2: y(part * high) }),
      svgElement("text", { x: left - 5, y: y(part * high) + 4, "text-anchor": "end" }, studyTick(part * high, measure.unit)),
      svgElement("text", { x: x(part), y: height - 6, "text-anchor": part === 1 ? "end" : "middle" }, ["0", "½", "depth 1"][2 * part]),
    ]),
    curves.map((curve) => studyCurveMarks(curve, data.models.indexOf(curve.model), x, y)),
    guide);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const depth = Math.max(0, Math.min(1, (((event.clientX - box.left) / box.width) * width - left) / (width - 8 - left)));
    for (const end of ["x1", "x2"]) guide.setAttribute(end, x(depth));
    guide.setAttribute("visibility", "visible");
    tip([`depth ${depth.toFixed(2)}`, ...curves.map((curve) => studyCurveSays(curve, depth, shown))], guide);
  });
  drawing.addEventListener("pointerleave", () => {
    guide.setAttribute("visibility", "hidden");
    tip(null);
  });
  const items = curves.map((curve) => curve.n).filter((n) => n !== undefined);
  return element("figure", { class: "lw-study-curve" },
    element("figcaption", {}, element("bdi", { class: "lw-study-set", text: studyName(studySetName(curves[0].set)) }),
      items.length ? element("span", { class: "lw-study-dim", text: ` ${items.join(" / ")} items`, attrs: { title: "items with a known answer, by model" } }) : null),
    drawing);
}

/** A line with its band; points without a value interrupt it. */
function studyCurveMarks(curve, index, x, y) {
  const points = curve.depth.map((depth, i) => ({ at: x(depth), value: curve.value[i], low: curve.low[i], high: curve.high[i] })).filter(({ value }) => value !== null);
  const path = (pairs) => pairs.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
  const band = [...points.map(({ at, high }) => [at, y(high)]), ...points.toReversed().map(({ at, low }) => [at, y(low)])];
  return svgElement("g", { class: studyModelClass(index) },
    svgElement("path", { class: "lw-study-curve-band", d: points.length ? `${path(band)}Z` : "" }),
    svgElement("path", { class: `lw-study-curve-line lw-study-dash${Math.max(0, index) % 4}`, d: path(points.map(({ at, value }) => [at, y(value)])) }));
}

function studyCurveSays(curve, depth, shown) {
  const layer = Math.round(depth * (curve.depth.length - 1));
  return `${studyName(curve.model)}, layer ${layer}: ${shown(curve.value[layer])} [${shown(curve.low[layer])}, ${shown(curve.high[layer])}]`;
}

function studyTick(value, unit) {
  return unit === "probability" ? `${Math.round(100 * value)} %` : String(Number(value.toPrecision(3)));
}
