// The grid's drawing: pure painting of a rectangle of it, for the page and for exported pictures alike.

import { shortened, visible, quantity } from "../shared/text.js";

/**
 * Paints what is seen of the grid through `view` `{x, y, width, height}` (x, y: how far it is scrolled).
 *
 * `look` holds `{trace, colouring, token, scale, geometry, theme, focus, hover}`; the labels stay at the edges.
 */
export function paintGrid(canvas, look, view) {
  const { geometry, theme } = look;
  canvas.fillStyle = theme.surface;
  canvas.fillRect(0, 0, view.width, view.height);
  const bottom = Math.min(view.height, geometry.height) - geometry.foot;
  const firstColumn = Math.max(0, Math.floor(view.x / geometry.cellWidth));
  const lastColumn = Math.min(geometry.columns - 1, Math.floor((view.x + view.width - geometry.left) / geometry.cellWidth));
  const firstRow = Math.max(0, Math.floor(view.y / geometry.cellHeight));
  const lastRow = Math.min(geometry.layers.length - 1, Math.floor((view.y + bottom) / geometry.cellHeight));
  canvas.textBaseline = "middle";
  canvas.direction = "ltr";
  canvas.save();
  canvas.beginPath();
  canvas.rect(geometry.left, 0, view.width - geometry.left, bottom);
  canvas.clip();
  // Setting a font is among the dearest things here: once, not for each cell.
  canvas.font = `12px ${theme.font}`;
  for (let row = firstRow; row <= lastRow; row += 1) {
    for (let column = firstColumn; column <= lastColumn; column += 1) paintCell(canvas, look, view, row, column);
  }
  paintOutlines(canvas, look, view);
  canvas.restore();
  paintLayers(canvas, look, view, { firstRow, lastRow, bottom });
  paintTokens(canvas, look, view, { firstColumn, lastColumn, bottom });
  paintCorner(canvas, look, bottom);
}

/** What `paintGrid` needs of a page's colours; `read(name)` returns a CSS variable's value. */
export function paintTheme(read, font) {
  const names = ["surface", "ink", "muted", "line", "mark", "focus", "empty"];
  return { ...Object.fromEntries(names.map((name) => [name, read(name)])), font, fitted: new Map() };
}

function paintCell(canvas, look, view, row, column) {
  const { trace, geometry, theme, scale, colouring } = look;
  const { cellWidth, cellHeight } = geometry;
  const [layer, place] = [geometry.layers[row], geometry.from + column];
  const x = geometry.left + column * cellWidth - view.x;
  const y = row * cellHeight - view.y;
  const cell = trace.cell(layer, place);
  const found = trace.value(colouring.key, layer, place, look.token);
  canvas.fillStyle = found === null ? theme.empty : scale.fill(found.value);
  canvas.fillRect(x, y, cellWidth - 1, cellHeight - 1);
  if (found?.bound) paintHatch(canvas, x, y, cellWidth - 1, cellHeight - 1, scale.ink(found.value));
  const ink = found === null ? theme.ink : scale.ink(found.value);
  // Two tokens need the room that a number would take.
  const roomy = cellWidth >= 104 && found !== null && !(trace.kind === "difference" && !cell.same);
  const right = roomy ? paintValue(canvas, look, found, x + cellWidth - 8, y, ink) : x + cellWidth - 5;
  paintToken(canvas, look, cell, { x: x + 5, y: y + cellHeight / 2, width: right - x - 6, ink });
  if (paintMarked(cell)) paintMark(canvas, theme, x, y, cellWidth - 1, cellHeight - 1);
}

function paintToken(canvas, look, cell, { x, y, width, ink }) {
  const { theme, trace } = look;
  canvas.fillStyle = ink;
  if (trace.kind === "difference" && !cell.same) {
    const half = (width - 14) / 2;
    const used = paintFitted(canvas, theme, cell.text, x, y, half);
    canvas.globalAlpha = 0.7;
    canvas.fillText("≠", x + used + 3, y);
    canvas.globalAlpha = 1;
    paintFitted(canvas, theme, cell.otherText, x + used + 15, y, width - used - 15);
    return;
  }
  paintFitted(canvas, theme, cell.text, x, y, width);
}

/** Writes a token, its leading space faint, cut to `width`; returns how wide it came out. */
function paintFitted(canvas, theme, text, x, y, width) {
  const key = `${Math.round(width)} ${text}`;
  let fitted = theme.fitted.get(key);
  if (!fitted) {
    if (theme.fitted.size > 20000) theme.fitted.clear();
    fitted = paintFit(canvas, text, width);
    theme.fitted.set(key, fitted);
  }
  if (fitted.space) {
    const alpha = canvas.globalAlpha;
    canvas.globalAlpha = 0.5 * alpha;
    canvas.fillText("␣", x, y);
    canvas.globalAlpha = alpha;
  }
  canvas.fillText(fitted.body, x + fitted.space, y);
  return fitted.width;
}

function paintFit(canvas, text, width) {
  const whole = Array.from(shortened(visible(String(text).slice(0, 200)), 80));
  const space = whole.length > 1 && whole[0] === "␣" && whole[1] !== "␣" ? canvas.measureText("␣").width : 0;
  const characters = space ? whole.slice(1) : whole;
  let body = characters.join("");
  let wide = canvas.measureText(body).width;
  if (space + wide > width) {
    let [fits, over] = [0, characters.length];
    while (over - fits > 1) {
      const middle = (fits + over) >> 1;
      if (space + canvas.measureText(`${characters.slice(0, middle).join("")}…`).width <= width) fits = middle;
      else over = middle;
    }
    body = `${characters.slice(0, fits).join("")}…`;
    wide = canvas.measureText(body).width;
  }
  return { space, body, width: space + wide };
}

function paintValue(canvas, look, found, right, y, ink) {
  const said = `${paintLimit(found)}${quantity(found.value, look.colouring.unit === "bits" ? "" : look.colouring.unit)}`;
  canvas.font = `11px ${look.theme.font}`;
  canvas.fillStyle = ink;
  canvas.textAlign = "right";
  canvas.globalAlpha = 0.85;
  canvas.fillText(said, right, y + look.geometry.cellHeight / 2);
  canvas.globalAlpha = 1;
  canvas.textAlign = "left";
  const wide = canvas.measureText(said).width;
  canvas.font = `12px ${look.theme.font}`;
  return right - wide - 4;
}

/** A bounded value is at most as large; a bounded difference at least as far from zero. */
function paintLimit({ bound, low, value }) {
  if (!bound) return "";
  return low !== undefined && value >= 0 ? "≥ " : "≤ ";
}

function paintHatch(canvas, x, y, width, height, ink) {
  canvas.save();
  canvas.beginPath();
  canvas.rect(x, y, width, height);
  canvas.clip();
  canvas.strokeStyle = ink;
  canvas.globalAlpha = 0.18;
  canvas.lineWidth = 1;
  canvas.beginPath();
  for (let at = x - height; at < x + width; at += 6) {
    canvas.moveTo(at, y + height);
    canvas.lineTo(at + height, y);
  }
  canvas.stroke();
  canvas.restore();
}

/** Whether an answer leads: of a difference, either side's own. */
function paintMarked(cell) {
  return cell.isAnswer || cell.otherIsAnswer;
}

/** The answer's cells: an outline and a filled corner, so that no colour is needed to find them. */
function paintMark(canvas, theme, x, y, width, height) {
  canvas.strokeStyle = theme.mark;
  canvas.lineWidth = 2;
  canvas.strokeRect(x + 1, y + 1, width - 2, height - 2);
  paintCornerMark(canvas, theme, x + width, y);
}

function paintCornerMark(canvas, theme, right, y) {
  canvas.fillStyle = theme.mark;
  canvas.beginPath();
  canvas.moveTo(right - 9, y);
  canvas.lineTo(right, y);
  canvas.lineTo(right, y + 9);
  canvas.fill();
}

function paintOutlines(canvas, look, view) {
  paintOutline(canvas, look, view, look.hover, 1, look.theme.ink);
  paintOutline(canvas, look, view, look.focus, 2, look.theme.focus);
}

function paintOutline(canvas, look, view, at, width, colour) {
  if (!at || at.layer === null || at.place === null) return;
  const { geometry, theme } = look;
  const [row, column] = [geometry.rowOf(at.layer), geometry.columnOf(at.place)];
  if (row < 0 || column < 0) return;
  const x = geometry.left + column * geometry.cellWidth - view.x;
  const y = row * geometry.cellHeight - view.y;
  const strokes = [[width + 2, theme.surface], [width, colour]];
  for (const [wide, shade] of width > 1 ? strokes : strokes.slice(1)) {
    canvas.strokeStyle = shade;
    canvas.lineWidth = wide;
    canvas.strokeRect(x + 0.5, y + 0.5, geometry.cellWidth - 2, geometry.cellHeight - 2);
  }
  // What the outline covers of the answer's mark comes back inside.
  if (width > 1 && paintMarked(look.trace.cell(at.layer, at.place))) {
    paintCornerMark(canvas, theme, x + geometry.cellWidth - 4, y + 3);
  }
}

function paintLayers(canvas, look, view, { firstRow, lastRow, bottom }) {
  const { geometry, theme, focus } = look;
  canvas.save();
  canvas.beginPath();
  canvas.rect(0, 0, geometry.left, bottom);
  canvas.clip();
  canvas.textAlign = "right";
  for (let row = firstRow; row <= lastRow; row += 1) {
    const layer = geometry.layers[row];
    const chosen = layer === focus?.layer;
    canvas.font = `${chosen ? "600 " : ""}12px ${theme.font}`;
    canvas.fillStyle = chosen ? theme.ink : theme.muted;
    canvas.fillText(String(layer), geometry.left - 8, (row + 0.5) * geometry.cellHeight - view.y);
  }
  canvas.restore();
}

function paintTokens(canvas, look, view, { firstColumn, lastColumn, bottom }) {
  const { trace, geometry, theme, focus } = look;
  canvas.save();
  canvas.beginPath();
  canvas.rect(geometry.left, bottom, view.width - geometry.left, geometry.foot);
  canvas.clip();
  for (let column = firstColumn; column <= lastColumn; column += 1) {
    const place = geometry.from + column;
    const position = trace.positions[place];
    const chosen = place === focus?.place;
    const x = geometry.left + column * geometry.cellWidth - view.x + 5;
    const generated = position >= trace.tokens.length - trace.generated;
    canvas.font = `${generated ? "italic " : ""}${chosen ? "600 " : ""}12px ${theme.font}`;
    canvas.fillStyle = theme.ink;
    paintFitted(canvas, theme, trace.tokens[position].text, x, bottom + 13, geometry.cellWidth - (chosen ? 13 : 9));
    canvas.font = `10px ${theme.font}`;
    canvas.fillStyle = theme.muted;
    canvas.fillText(String(position), x, bottom + 28);
  }
  canvas.restore();
}

function paintCorner(canvas, { geometry, theme }, bottom) {
  canvas.fillStyle = theme.line;
  canvas.fillRect(0, bottom, geometry.width, 1);
  canvas.fillStyle = theme.muted;
  canvas.font = `10px ${theme.font}`;
  canvas.fillText("layer ↑", 2, bottom + 13);
  canvas.fillText("token →", 2, bottom + 28);
}
