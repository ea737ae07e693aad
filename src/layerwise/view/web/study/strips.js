// Where a milestone is reached: for every set and model a strip by depth, one dot per question, median and interval.

import { svgElement } from "../shared/svg.js";
import { element } from "../shared/text.js";
import { studySetName } from "./data.js";
import { studyCount, studyDepth, studyInterval, studyModelClass, studyName, studyScale, studyShare } from "./marks.js";

/**
 * Strips of the chosen milestone. `context` has `open(row)`, `tip(text lines, x, y)`, `announce(text)`.
 * `draw({data, milestone, set, chosen})` draws them anew, `chosen` being the question that was opened; `focus(row)` goes
 * to its dot.
 */
export function studyStrips(context) {
  const body = element("div", { class: "lw-study-strips" });
  const cursors = new WeakMap();
  let now = null;
  let width = 0;

  function draw(next) {
    now = next;
    width = body.clientWidth;
    const lines = studyStripLines(now.data, now.set);
    const plot = studyPlotWidth(width);
    const groups = lines.map((line) => studyStripGroup(line, now, plot));
    body.replaceChildren(studyDepthAxis(plot, true), ...groups, studyDepthAxis(plot, false));
  }

  const resized = new ResizeObserver(() => {
    if (now && body.clientWidth && Math.abs(body.clientWidth - width) > 4) draw(now);
  });
  resized.observe(body);

  const dotOf = (event) => (event.target instanceof Element ? event.target.closest("[data-row]") : null);
  body.addEventListener("click", (event) => {
    const dot = dotOf(event);
    if (dot) context.open(Number(dot.dataset.row));
  });
  body.addEventListener("pointerover", (event) => {
    const dot = dotOf(event);
    if (dot) context.tip(studyDotLines(now, Number(dot.dataset.row)), dot);
    else context.tip(null);
  });
  body.addEventListener("pointerleave", () => context.tip(null));
  body.addEventListener("focusin", (event) => {
    // A click focuses the strip too, but points at its dot by itself.
    if (event.target.matches(":focus-visible")) move(event.target, 0, false);
  });
  body.addEventListener("focusout", (event) => {
    event.target.querySelector?.(".lw-study-cursor")?.setAttribute("visibility", "hidden");
    context.tip(null);
  });
  body.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    const strip = event.target;
    if (!(strip instanceof SVGElement) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      const dot = studyDots(strip)[cursors.get(strip) ?? 0];
      if (dot) context.open(Number(dot.dataset.row));
    } else if (Object.hasOwn(steps, event.key)) move(strip, steps[event.key], true);
    else return;
    event.preventDefault();
  });

  /** Moves a strip's cursor ring from dot to dot, in order of depth. */
  function move(strip, by, tell) {
    const dots = strip instanceof SVGElement ? studyDots(strip) : [];
    if (!dots.length) return;
    const at = Math.max(0, Math.min(dots.length - 1, (cursors.get(strip) ?? 0) + by));
    cursors.set(strip, at);
    const [dot, ring] = [dots[at], strip.querySelector(".lw-study-cursor")];
    const lines = studyDotLines(now, Number(dot.dataset.row));
    for (const name of ["cx", "cy"]) ring.setAttribute(name, dot.getAttribute(name));
    ring.setAttribute("visibility", "visible");
    ring.setAttribute("aria-label", lines.join(". "));
    if (tell) context.announce(lines.join(". "));
    context.tip(lines, dot);
  }

  /** Goes to a question's dot, where there is one. */
  function focus(row) {
    const strip = body.querySelector(`[data-row="${row}"]`)?.closest(".lw-study-strip");
    if (!strip) return;
    cursors.set(strip, studyDots(strip).findIndex((dot) => Number(dot.dataset.row) === row));
    strip.focus({ preventScroll: true });
  }

  return { element: body, draw, focus, destroy: () => resized.disconnect() };
}

function studyDots(strip) {
  return [...strip.querySelectorAll("[data-row]")];
}

/** What stands on one line: a set and direction, with a wording where one set is looked at closely. */
function studyStripLines(data, set) {
  const wordings = new Set(data.cells.filter((cell) => cell.set === set && cell.wording !== null).map((cell) => `${cell.direction} ${cell.wording}`));
  const close = set !== null && wordings.size > 1;
  const lines = new Map();
  const add = (at, wording) => {
    const place = { set: data.value(at, "set"), direction: data.value(at, "direction"), wording };
    const key = JSON.stringify([place.set, place.direction, wording]);
    if (!lines.has(key)) lines.set(key, { ...place, rows: [] });
    lines.get(key).rows.push(at);
  };
  for (const row of data.rows) {
    if (set !== null && data.value(row, "set") !== set) continue;
    add(row, null);
    if (close) add(row, data.value(row, "wording"));
  }
  return [...lines.values()];
}

function studyStripGroup(line, { data, milestone, chosen }, width) {
  const models = data.models.map((_, index) => index).filter((index) => line.rows.some((row) => data.columns.model[row] === index));
  const strips = models.map((index) => {
    const rows = line.rows.filter((row) => data.columns.model[row] === index);
    const cell = data.cells.find((each) => each.model === data.models[index] && each.set === line.set && each.direction === line.direction && each.wording === line.wording);
    return studyStripRow({ data, milestone, chosen, index, rows, cell, line, width });
  });
  const names = [line.direction, line.wording].filter(Boolean).map((name) => studyName(name)).join(" · ");
  return element("div", { class: `lw-study-group${line.wording === null ? "" : " lw-study-closer"}` },
    element("div", { class: "lw-study-group-name" },
      line.wording === null ? element("bdi", { class: "lw-study-set", text: studyName(studySetName(line.set)) }) : null,
      names ? element("bdi", { class: "lw-study-dim", text: names }) : null),
    element("div", { class: "lw-study-group-strips" }, strips));
}

function studyStripRow(drawn) {
  const { data, index, rows, cell, milestone } = drawn;
  const found = cell?.depths?.[milestone.key] ?? null;
  const known = cell?.known ?? null;
  const share = rows.filter((row) => data.value(row, "known")).length;
  return element("div", { class: `lw-study-strip-row ${studyModelClass(index)}` },
    element("span", { class: "lw-study-model" }, element("bdi", { text: studyName(data.models[index]) })),
    studyKnownBar(known, rows.length, share),
    studyStrip(drawn, found),
    element("span", { class: "lw-study-median", attrs: { title: found ? `${milestone.title}: median and 95 % interval over ${studyCount(found.n, "item")} with a known answer` : null } },
      found ? element("b", { text: studyDepth(found.value) }) : "–",
      found ? element("span", { class: "lw-study-dim", text: ` [${studyDepth(found.low)}, ${studyDepth(found.high)}]` }) : null));
}

/** The share of questions whose answer is known: a bar, its interval, and the number. */
function studyKnownBar(known, questions, count) {
  const [width, height] = [60, 14];
  const x = studyScale([0, 1], [0, width]);
  const said = known ? `${studyInterval(known, studyShare)} of ${studyCount(questions, "question")} known (${count})` : `${count} of ${studyCount(questions, "question")} known`;
  return element("span", { class: "lw-study-known", attrs: { title: said, role: "img", "aria-label": said } },
    svgElement("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      svgElement("rect", { class: "lw-study-track", x: 0, y: 3, width, height: 8, rx: 2 }),
      svgElement("rect", { class: "lw-study-fill", x: 0, y: 3, width: x(known ? known.value : questions ? count / questions : 0), height: 8, rx: 2 }),
      known ? svgElement("line", { class: "lw-study-whisker", x1: x(known.low), x2: x(known.high), y1: 7, y2: 7 }) : null),
    element("span", { text: studyShare(known ? known.value : questions ? count / questions : 0), attrs: { "aria-hidden": "true" } }));
}

/** How wide a strip's drawing is, given all the room; as the style sheet puts it. */
function studyPlotWidth(room) {
  return Math.max(200, room >= 720 ? room - 150 - 120 - 104 - 124 : room - 4);
}

function studyStripFrame(width) {
  const never = Math.max(52, Math.min(120, 0.15 * width));
  return { start: 10, end: width - never - 26, never: width - never / 2 - 2, neverWidth: never };
}

function studyStrip({ data, milestone, rows, line, index, chosen, width }, found) {
  const height = 44;
  const frame = studyStripFrame(width);
  const x = studyScale([0, 1], [frame.start, frame.end]);
  const at = (depth) => (depth > 1 ? frame.never : x(depth));
  const placed = studySwarm(data, rows, milestone.key, frame, height);
  const dots = placed.map(({ row, cx, cy }) =>
    svgElement("circle", { class: `lw-study-dot${data.value(row, "known") ? " lw-study-is-known" : ""}${row === chosen ? " lw-study-chosen" : ""}`, cx, cy, r: 2.3, "data-row": row }));
  const said = found ? `${milestone.title}: median depth ${studyInterval(found, studyDepth)} over ${studyCount(found.n, "item")} with a known answer` : "no item with a known answer";
  const name = [data.models[index], studySetName(line.set), line.direction, line.wording].filter(Boolean).map((each) => studyName(each)).join(", ");
  const bandStart = found && at(found.low);
  const bandEnd = found && at(found.high);
  return svgElement("svg", { class: "lw-study-strip", viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "listbox", "aria-label": `${name}: ${said}. ${studyCount(rows.length, "question")}; arrow keys go from one to the next` },
    svgElement("g", { "aria-hidden": "true" },
      svgElement("rect", { class: "lw-study-never", x: frame.end + 24, y: 0, width: frame.neverWidth, height, rx: 3 }),
      [0, 0.25, 0.5, 0.75, 1].map((depth) => svgElement("line", { class: "lw-study-rule", x1: x(depth), x2: x(depth), y1: 0, y2: height })),
      found ? svgElement("rect", { class: "lw-study-band", x: bandStart - 1.5, y: 1, width: bandEnd - bandStart + 3, height: height - 2, rx: 2 }) : null,
      dots,
      found ? svgElement("line", { class: "lw-study-median-line", x1: at(found.value), x2: at(found.value), y1: 1, y2: height - 1 }) : null),
    svgElement("circle", { class: "lw-study-cursor", r: 5, role: "option", "aria-selected": "false", "aria-label": "no question chosen yet", visibility: "hidden" }));
}

/** Where each question's dot is: a column per layer, filled from the middle, those with a known answer first. */
function studySwarm(data, rows, milestone, frame, height) {
  const columns = new Map();
  for (const row of rows) {
    const layer = data.value(row, milestone) ?? Infinity;
    if (!columns.has(layer)) columns.set(layer, []);
    columns.get(layer).push(row);
  }
  const n = data.nLayers(rows[0]) ?? 1;
  const x = studyScale([0, 1], [frame.start, frame.end]);
  const step = (frame.end - frame.start) / n;
  return [...columns.entries()].sort(([a], [b]) => a - b).flatMap(([layer, all]) => {
    const never = layer === Infinity;
    const middle = never ? frame.never : x(layer / n);
    const room = never ? frame.neverWidth - 8 : Math.min(44, step * 0.86);
    const ordered = [...all].sort((a, b) => Number(data.value(b, "known") ?? false) - Number(data.value(a, "known") ?? false) || a - b);
    return studyPacked(ordered, middle, room, height);
  });
}

/** Dots in rows that alternate above and below the middle; they move together where there is too little room. */
function studyPacked(ordered, middle, room, height) {
  const pitch = 5;
  const across = Math.max(1, Math.min(ordered.length, Math.floor(room / pitch)));
  const rows = Math.ceil(ordered.length / across);
  const apart = Math.min(pitch, (height - 6) / Math.max(1, rows - 1));
  return ordered.map((row, i) => {
    const [line, place] = [Math.floor(i / across), i % across];
    const inLine = Math.min(across, ordered.length - line * across);
    const side = line % 2 ? 1 : -1;
    const shift = rows % 2 ? 0 : -apart / 2;
    return { row, cx: (middle + (place - (inLine - 1) / 2) * Math.min(pitch, room / across)).toFixed(1), cy: (height / 2 + shift + side * Math.ceil(line / 2) * apart).toFixed(1) };
  });
}

/** The depths over, or under, all strips, with what the columns beside them are. */
function studyDepthAxis(width, above) {
  const frame = studyStripFrame(width);
  const x = studyScale([0, 1], [frame.start, frame.end]);
  const label = (at, text) => svgElement("text", { x: at, y: 12, "text-anchor": "middle" }, text);
  const names = above ? ["", "model", "share known", "median [95 %]"] : ["", "", "", ""];
  const [first, model, known, median] = names.map((text) => element("span", { text }));
  const drawing = svgElement("svg", { viewBox: `0 0 ${width} ${above ? 18 : 34}`, width, height: above ? 18 : 34 },
    label(x(0), "0"), label(x(0.25), "¼"), label(x(0.5), "½"), label(x(0.75), "¾"), label(x(1), "1"), label(frame.never, "never"),
    above ? null : svgElement("text", { x: (x(0) + x(1)) / 2, y: 30, "text-anchor": "middle" }, "depth: layer ÷ number of layers"));
  return element("div", { class: "lw-study-axis", attrs: { "aria-hidden": "true" } }, first, model, known, drawing, median);
}

/** What is said of a dot: the question, its answer, and where it reaches the milestone. */
function studyDotLines({ data, milestone }, row) {
  const layer = data.value(row, milestone.key);
  const says = data.value(row, "known") ? null : data.says(row);
  return [
    `${studyName(data.value(row, "prompt"), 160)} → ${studyName(data.value(row, "answer"), 40)}`,
    `${studyName(data.model(row))}: ${milestone.short} ${layer === null ? "at no layer" : `at layer ${layer} of ${data.nLayers(row)}`}`,
    data.value(row, "known") ? "known" : says === null ? "not known" : `not known; says “${studyName(says)}”`,
    ...(data.opens(row) ? [] : ["its layers are not in this view"]),
  ];
}
