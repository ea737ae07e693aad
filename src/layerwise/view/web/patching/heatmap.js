// A patch grid as a heatmap: a table of blocks × positions or heads, whose cells arrow keys and the mouse choose.

import { colourScale } from "../shared/scale.js";
import { element, quantity, shortened, tokenElement, visible } from "../shared/text.js";

/** A number of a cell as it is written in it: shares in percent, without a unit. */
export function patchNumber(value, unit) {
  if (value === null) return "–";
  if (unit !== "share") return unit === "rank" && Number.isInteger(value) ? String(value) : quantity(value, "");
  const percent = Math.round(100 * value);
  return percent < 0 ? `−${-percent}` : String(percent);
}

/** A number in words, with its unit. */
export function patchQuantity(value, unit) {
  if (value === null) return "–";
  if (unit === "rank") return patchNumber(value, unit);
  return unit === "share" ? `${patchNumber(value, unit)} %` : quantity(value, unit);
}

/** Why a cell is hatched. */
export const PATCH_OUTSIDE = "outside the causal cone: nothing put here can change the prediction";

/**
 * The heatmap of `grid`: `{element, choose(row, column)}`.
 *
 * `onChoose(row, column)` is told of what the reader chooses, `onHover(place, event)` of what the pointer is over; null
 * where it is over none.
 */
export function createHeatmap(grid, colouring, { dark, called, onChoose, onHover }) {
  const scale = colourScale(colouring, dark);
  const rows = grid.blocks.map((block, row) =>
    element(
      "tr",
      { attrs: { role: "row" } },
      element("th", { text: block, attrs: { role: "rowheader", scope: "row" } }),
      grid.columns.map((_, column) => heatmapCell(grid, colouring, scale, row, column)),
    ),
  );
  const corner = element("td", { text: grid.ofHeads ? "head" : "token" });
  const foot = element("tr", { attrs: { role: "row" } }, corner, grid.columns.map((_, column) => heatmapTitle(grid, column)));
  const table = element(
    "table",
    { class: "lw-heat", attrs: { role: "grid", "aria-label": called, "aria-readonly": "true" } },
    element("tbody", { attrs: { role: "rowgroup" } }, rows.toReversed()),
    element("tfoot", { attrs: { role: "rowgroup" } }, foot),
  );
  const cellAt = (row, column) => rows[row].children[column + 1];
  let chosen = null;

  function choose(row, column) {
    chosen?.setAttribute("tabindex", "-1");
    chosen?.setAttribute("aria-selected", "false");
    chosen = cellAt(row, column);
    chosen.setAttribute("tabindex", "0");
    chosen.setAttribute("aria-selected", "true");
  }

  table.addEventListener("click", (event) => {
    const place = heatmapPlace(event.target);
    if (place) onChoose(...place);
  });
  table.addEventListener("pointermove", (event) => onHover(heatmapPlace(event.target), event));
  table.addEventListener("pointerleave", (event) => onHover(null, event));
  table.addEventListener("keydown", (event) => {
    const from = heatmapPlace(event.target);
    const to = from && heatmapMoved(event, from, [grid.blocks.length - 1, grid.columns.length - 1]);
    if (!to) return;
    event.preventDefault();
    onChoose(...to);
    cellAt(...to).focus();
  });
  return { element: element("div", { class: "lw-heat-frame" }, table), choose };
}

function heatmapCell(grid, { key, unit, title }, scale, row, column) {
  const value = grid.value(key, row, column);
  const reaches = grid.reaches(row, column);
  const said = reaches ? `${title} ${patchQuantity(value, unit)}` : PATCH_OUTSIDE;
  const where = grid.ofHeads ? "" : ` ${shortened(visible(grid.token(column).slice(0, 200)), 24)}`;
  const cell = element("td", {
    class: reaches ? null : "lw-heat-outside",
    text: reaches ? patchNumber(value, unit) : "",
    attrs: {
      role: "gridcell",
      tabindex: "-1",
      "aria-selected": "false",
      "aria-label": `Block ${grid.blocks[row]}, ${grid.columnName(column)}${where}: ${said}`,
      "data-row": row,
      "data-column": column,
    },
  });
  if (reaches && value !== null) Object.assign(cell.style, { background: scale.fill(value), color: scale.ink(value) });
  return cell;
}

function heatmapTitle(grid, column) {
  const title = element("th", { attrs: { role: "columnheader", scope: "col" } });
  if (grid.ofHeads) title.append(String(grid.columns[column]));
  else title.append(tokenElement(grid.token(column), { limit: 14 }), element("small", { text: grid.columns[column] }));
  return title;
}

function heatmapPlace(target) {
  const cell = target.closest?.("[data-row]");
  return cell ? [Number(cell.dataset.row), Number(cell.dataset.column)] : null;
}

/** Where a key leads; null where it is none of the grid's. Up is towards later blocks. */
function heatmapMoved(event, [row, column], [lastRow, lastColumn]) {
  if (event.altKey || event.metaKey) return null;
  const moves = {
    ArrowUp: [row + 1, column],
    ArrowDown: [row - 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    PageUp: [row + 8, column],
    PageDown: [row - 8, column],
    Home: event.ctrlKey ? [lastRow, 0] : [row, 0],
    End: event.ctrlKey ? [0, lastColumn] : [row, lastColumn],
  };
  if (!Object.hasOwn(moves, event.key)) return null;
  const within = (value, most) => Math.max(0, Math.min(most, value));
  return [within(moves[event.key][0], lastRow), within(moves[event.key][1], lastColumn)];
}
