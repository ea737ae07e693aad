// One of the grids that are patched between: a title, and a trace's layers × positions.

import { createGrid } from "../grid/grid.js";
import { stateDefaults } from "../shared/state.js";
import { element } from "../shared/text.js";
import { tipPlace } from "../grid/tip.js";

/**
 * A grid of its own: `{element, draw(trace, cell, colour), cellAt(event), focus()}`.
 *
 * `cell` is `{layer, place}`, `colour` `{key, token}`. `onChoose(cell)` is told of what the reader chooses, `onEnter()` of
 * the Enter key.
 */
export function createSheet(context, { title, help, onChoose, onEnter }) {
  const shown = { trace: null, cell: null, colour: null };
  const state = () => ({ ...stateDefaults(), ...shown.cell, colour: shown.colour.key, token: shown.colour.token });
  const grid = createGrid({
    ...context,
    called: title,
    trace: () => shown.trace,
    colouring: () => shown.trace.colourings().find(({ key }) => key === shown.colour.key),
    state: { get: state, set: (patch) => onChoose({ ...shown.cell, ...patch }), subscribe: () => () => {} },
    togglePin: onEnter,
  });
  const made = element(
    "section",
    { class: "lw-sheet", attrs: { "aria-label": title } },
    element("h3", { text: title }),
    element("p", { class: "lw-sheet-help", text: help }),
    grid.element,
  );
  made.hidden = true;
  return {
    element: made,
    draw(trace, cell, colour) {
      Object.assign(shown, { trace, cell, colour });
      made.hidden = trace === null;
      if (trace !== null) grid.update();
    },
    /** The cell under the pointer; null where there is none. */
    cellAt(event) {
      const found = made.hidden ? null : grid.cellAt(event);
      return found === null || found.layer === null || found.place === null ? null : found;
    },
    grid: grid.element,
    focus: () => grid.focus(),
  };
}

/** Lets cells be dragged from any of `sheets` to another: `onDrop(from, cell, to, cell)`, sheets by index. */
export function sheetsDragged(root, sheets, { label, onDrop }) {
  const ghost = element("div", { class: "lw-sheet-ghost", attrs: { "aria-hidden": "true", hidden: true } });
  let begun = null;
  const move = (event) => {
    if (!begun.moved && Math.hypot(event.clientX - begun.x, event.clientY - begun.y) < 5) return;
    begun.moved = true;
    root.classList.add("lw-sheets-dragged");
    ghost.hidden = false;
    tipPlace(ghost, event.clientX, event.clientY);
  };
  const end = (event) => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    root.classList.remove("lw-sheets-dragged");
    ghost.hidden = true;
    const { from, cell, moved } = begun;
    begun = null;
    if (!moved || event.type === "pointercancel") return;
    const to = sheets.findIndex((sheet) => sheet.cellAt(event) !== null);
    if (to >= 0 && to !== from) onDrop(from, cell, to, sheets[to].cellAt(event));
  };
  sheets.forEach((sheet, from) => {
    sheet.grid.addEventListener("pointerdown", (event) => {
      const cell = sheet.cellAt(event);
      // A finger scrolls; it chooses both cells and presses the button.
      if (event.button !== 0 || event.pointerType === "touch" || cell === null) return;
      begun = { from, cell, x: event.clientX, y: event.clientY, moved: false };
      ghost.textContent = label(from, cell);
      addEventListener("pointermove", move);
      addEventListener("pointerup", end);
      addEventListener("pointercancel", end);
    });
  });
  root.append(ghost);
}
