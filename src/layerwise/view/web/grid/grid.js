// The grid of layers × positions on a canvas: only what is in sight is drawn, whatever the trace's size.

import { gridAt, gridGeometry, gridNearest } from "./geometry.js";
import { paintGrid, paintTheme } from "./paint.js";
import { colourScale } from "../shared/scale.js";
import { element } from "../shared/text.js";
import { createTip } from "./tip.js";
import { cellWords } from "./words.js";

/** The grid with its tooltip; `element`, `update()`, `look()` for exports, and `destroy()`. */
export function createGrid(context) {
  const canvas = element("canvas", { class: "lw-grid-canvas", attrs: { "aria-hidden": "true" } });
  const spoken = element("div", { class: "lw-unseen", attrs: { role: "row" } });
  const sizer = element("div", { class: "lw-grid-sizer", attrs: { role: "presentation" } }, canvas);
  const scroller = element(
    "div",
    { class: "lw-grid", attrs: { role: "grid", tabindex: "0", "aria-readonly": "true" } },
    sizer,
    spoken,
  );
  const tip = createTip(context);
  const pad = element("div", { class: "lw-grid-frame" }, scroller, tip.element);
  const grid = { context, canvas, scroller, sizer, spoken, tip, hover: null, frame: null, look: null, known: {} };
  grid.name = `lw-cell-${Math.random().toString(36).slice(2)}`;
  const paint = () => gridPaintSoon(grid);
  const resized = new ResizeObserver(() => {
    // Beside a study there may be no trace yet.
    if (context.trace() === null) return;
    gridMeasure(grid);
    paint();
  });
  resized.observe(pad);
  gridListen(grid, paint);
  return {
    element: pad,
    update() {
      gridMeasure(grid);
      gridSpeak(grid);
      paint();
    },
    look: () => grid.look,
    /** What lies under the pointer, `{layer, place}`; null outside. */
    cellAt: (event) => gridUnder(grid, event),
    focus: () => scroller.focus(),
    destroy() {
      resized.disconnect();
      if (grid.frame !== null) cancelAnimationFrame(grid.frame);
    },
  };
}

/** Colours, sizes and what is chosen: everything that painting needs, made anew when the state changes. */
export function gridLook(context, width) {
  const trace = context.trace();
  const state = context.state.get();
  const colouring = context.colouring();
  return {
    trace,
    colouring,
    token: state.token,
    scale: colourScale(colouring, context.dark()),
    geometry: gridGeometry(trace, state, width),
    theme: paintTheme(context.css, context.font()),
    focus: { layer: state.layer, place: state.place },
    hover: null,
  };
}

function gridMeasure(grid) {
  const { scroller, sizer, canvas, context } = grid;
  const fitted = grid.look?.theme.fitted;
  grid.look = gridLook(context, scroller.clientWidth);
  const { geometry, theme } = grid.look;
  // The texts' widths stay true while the font does, and measuring them is what costs time.
  if (fitted && grid.known.font === theme.font) theme.fitted = fitted;
  grid.known.font = theme.font;
  sizer.style.width = `${geometry.width}px`;
  sizer.style.height = `${geometry.height}px`;
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [scroller.clientWidth, Math.min(scroller.clientHeight, geometry.height)];
  if (grid.known.width !== width || grid.known.height !== height || grid.known.scale !== scale) {
    Object.assign(grid.known, { width, height, scale });
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const { trace, focus } = grid.look;
  const shown = `${focus.layer} ${focus.place} ${geometry.layers.length} ${geometry.from} ${geometry.columns} ${width}`;
  if (grid.known.trace !== trace || grid.known.shown !== shown) gridReveal(grid);
  Object.assign(grid.known, { trace, shown });
}

function gridPaintSoon(grid) {
  grid.frame ??= requestAnimationFrame(() => {
    grid.frame = null;
    const surface = grid.canvas.getContext("2d", { alpha: false });
    const { scale } = grid.known;
    surface.setTransform(scale, 0, 0, scale, 0, 0);
    paintGrid(surface, { ...grid.look, hover: grid.hover }, gridView(grid));
  });
}

function gridView({ scroller, known }) {
  return { x: scroller.scrollLeft, y: scroller.scrollTop, width: known.width, height: known.height };
}

/** Scrolls so that the focused cell is in sight, and no further. */
function gridReveal({ scroller, look: { geometry, focus }, known }) {
  const [row, column] = [geometry.rowOf(focus.layer), geometry.columnOf(focus.place)];
  const { cellWidth, cellHeight, left, foot } = geometry;
  if (column >= 0) {
    const [least, most] = [(column + 1) * cellWidth + left - known.width, column * cellWidth];
    scroller.scrollLeft = Math.min(most, Math.max(least, scroller.scrollLeft));
  }
  if (row >= 0) {
    const [least, most] = [(row + 1) * cellHeight + foot - known.height, row * cellHeight];
    scroller.scrollTop = Math.min(most, Math.max(least, scroller.scrollTop));
  }
}

function gridUnder(grid, event) {
  const { scroller } = grid;
  const box = scroller.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left - scroller.clientLeft, event.clientY - box.top - scroller.clientTop];
  if (x < 0 || y < 0 || x >= grid.known.width || y >= grid.known.height) return null;
  return gridAt(grid.look.geometry, gridView(grid), x, y);
}

function gridListen(grid, paint) {
  const { scroller, context, tip } = grid;
  const at = (event) => gridUnder(grid, event);
  const hover = (place, event) => {
    grid.hover = place;
    if (place === null) tip.hide();
    else tip.show(place, event.clientX, event.clientY);
    paint();
  };
  scroller.addEventListener("scroll", () => {
    if (grid.hover !== null) hover(null);
    paint();
  });
  scroller.addEventListener("pointermove", (event) => hover(at(event), event));
  scroller.addEventListener("pointerleave", () => hover(null));
  scroller.addEventListener("click", (event) => {
    const { layer, place } = at(event) ?? { layer: null, place: null };
    context.state.set({ ...(layer === null ? {} : { layer }), ...(place === null ? {} : { place }) });
  });
  scroller.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && grid.hover !== null) hover(null);
    else if (!gridKey(grid, event)) return;
    event.preventDefault();
  });
}

/** Obeys a key; false where it is none of the grid's. */
function gridKey({ context, look: { geometry, focus, trace } }, event) {
  if (event.altKey || event.metaKey) return false;
  if (event.key === "Enter") {
    context.togglePin(trace.cell(focus.layer, focus.place).id);
    return true;
  }
  const row = geometry.rowOf(gridNearest(geometry, focus.layer));
  const last = geometry.columns - 1;
  const column = Math.max(0, geometry.columnOf(focus.place));
  const bottom = geometry.layers.length - 1;
  const moves = {
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    Home: event.ctrlKey ? [0, 0] : [row, 0],
    End: event.ctrlKey ? [bottom, last] : [row, last],
    PageUp: [row - 8, column],
    PageDown: [row + 8, column],
  };
  if (!Object.hasOwn(moves, event.key)) return false;
  const [toRow, toColumn] = moves[event.key];
  const within = (value, most) => Math.max(0, Math.min(most, value));
  context.state.set({ layer: geometry.layers[within(toRow, bottom)], place: geometry.from + within(toColumn, last) });
  return true;
}

/** Puts the focused cell in words where screen readers look for it. A new id makes them say it anew. */
function gridSpeak({ scroller, spoken, look, name, context, known }) {
  const { trace, geometry, focus } = look;
  const words = cellWords(context, focus.layer, focus.place);
  const said = `${words} ${geometry.from} ${geometry.columns} ${geometry.layers.length}`;
  if (known.said === said) return;
  known.said = said;
  const row = geometry.rowOf(gridNearest(geometry, focus.layer)) + 1;
  const id = `${name}-${focus.layer}-${focus.place}`;
  const column = Math.max(0, geometry.columnOf(focus.place)) + 1;
  const cell = element("div", {
    text: words,
    attrs: { role: "gridcell", id, "aria-colindex": String(column), "aria-selected": "true" },
  });
  spoken.setAttribute("aria-rowindex", String(row));
  spoken.replaceChildren(cell);
  scroller.setAttribute("aria-label", `${context.called ? `${context.called}: l` : "L"}ayers 0 to ${trace.nLayers} by positions: the leading token in each cell. Arrow keys move.`);
  scroller.setAttribute("aria-rowcount", String(geometry.layers.length));
  scroller.setAttribute("aria-colcount", String(geometry.columns));
  scroller.setAttribute("aria-activedescendant", id);
}
