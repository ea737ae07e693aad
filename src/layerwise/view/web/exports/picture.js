// The chosen window as one picture that explains itself: what is read, the grid, its colours, how it was checked.

import { gridLook } from "../grid/grid.js";
import { paintGrid } from "../grid/paint.js";
import { SvgCanvas } from "./svgcanvas.js";
import { oneLine, quantity, shortened } from "../shared/text.js";
import { headline } from "../grid/words.js";

/** The picture as SVG text. */
export function pictureSvg(context) {
  const picture = pictureOf(context);
  const surface = new SvgCanvas(picture.width, picture.height);
  pictureDraw(surface, picture);
  return surface.svg(picture.lines[0]);
}

/** The picture as `{blob, scale}`: a PNG, twice as fine as the page, or coarser where a canvas could not hold that. */
export async function picturePng(context) {
  const picture = pictureOf(context);
  const { width, height } = picture;
  const scale = Math.min(2, 16000 / width, 16000 / height, Math.sqrt(6e7 / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(width * scale));
  canvas.height = Math.max(1, Math.floor(height * scale));
  const surface = canvas.getContext("2d");
  surface.scale(scale, scale);
  pictureDraw(surface, picture);
  return new Promise((resolve, reject) => {
    const taken = (blob) =>
      blob ? resolve({ blob, scale }) : reject(new Error("The picture is too large for this browser."));
    canvas.toBlob(taken, "image/png");
  });
}

/** What is drawn and where: a margin, lines of text, the whole chosen window, a legend. */
function pictureOf(context) {
  const margin = 20;
  const look = { ...gridLook(context, 1040), focus: { layer: null, place: null }, hover: null };
  const { trace, geometry } = look;
  const { dtype, device } = trace.model;
  const read = [trace.model.name, `${trace.lens} lens`, [dtype, device].filter(Boolean).join(" on ")]
    .filter(Boolean)
    .join(" · ");
  const lines = [headline(trace), trace.prompt, read].map((line) =>
    shortened(oneLine(String(line).slice(0, 2000)), 400),
  );
  const trust = trace.trust?.sentences.join(" ") ?? "What was checked of this trace is not stored with it.";
  return {
    look,
    margin,
    lines,
    trust: shortened(oneLine(trust.slice(0, 2000)), 400),
    top: margin + 70,
    width: Math.max(geometry.width, 640) + 2 * margin,
    height: margin + 70 + geometry.height + 66,
  };
}

function pictureDraw(surface, picture) {
  const { look, margin, lines, top, width, height } = picture;
  const { theme, geometry } = look;
  surface.fillStyle = theme.surface;
  surface.fillRect(0, 0, width, height);
  surface.textBaseline = "middle";
  surface.direction = "ltr";
  const room = width - 2 * margin;
  pictureLine(surface, theme, lines[0], { x: margin, y: margin + 9, room, font: "600 16px", ink: theme.ink });
  pictureLine(surface, theme, lines[1], { x: margin, y: margin + 32, room, font: "13px", ink: theme.ink });
  pictureLine(surface, theme, lines[2], { x: margin, y: margin + 51, room, font: "12px", ink: theme.muted });
  surface.save();
  surface.translate(margin, top);
  paintGrid(surface, look, { x: 0, y: 0, width: geometry.width, height: geometry.height });
  surface.restore();
  pictureLegend(surface, picture, top + geometry.height + 22);
  pictureLine(surface, theme, picture.trust, { x: margin, y: height - 18, room, font: "11px", ink: theme.muted });
}

function pictureLegend(surface, { look, margin }, y) {
  const { theme, colouring, scale, trace, token } = look;
  const chosen =
    colouring.perToken && token !== null ? `: ${shortened(oneLine(trace.textOf(token).slice(0, 400)), 40)}` : "";
  let x =
    margin +
    pictureLine(surface, theme, `${colouring.title}${chosen}`, { x: margin, y, font: "12px", ink: theme.ink }) +
    12;
  const said = (value) => quantity(value, colouring.unit);
  x += pictureLine(surface, theme, said(scale.low), { x, y, font: "12px", ink: theme.muted }) + 6;
  const steps = 48;
  for (let step = 0; step < steps; step++) {
    surface.fillStyle = scale.fill(scale.low + ((scale.high - scale.low) * (step + 0.5)) / steps);
    // A little wider than its share, or seams would show.
    surface.fillRect(x + (150 * step) / steps, y - 6, 150 / steps + (step < steps - 1 ? 0.5 : 0), 12);
  }
  surface.strokeStyle = theme.line;
  surface.lineWidth = 1;
  surface.strokeRect(x, y - 6, 150, 12);
  x += 156 + pictureLine(surface, theme, said(scale.high), { x: x + 156, y, font: "12px", ink: theme.muted }) + 22;
  if (!trace.answer) return;
  surface.strokeStyle = theme.mark;
  surface.lineWidth = 2;
  surface.strokeRect(x, y - 6, 18, 12);
  pictureLine(surface, theme, "the answer leads", { x: x + 25, y, font: "12px", ink: theme.muted });
}

/** Writes a line, cut to the room that there is; returns its width. */
function pictureLine(surface, theme, text, { x, y, room = Infinity, font, ink }) {
  surface.font = `${font} ${theme.font}`;
  surface.fillStyle = ink;
  surface.textAlign = "left";
  let shown = text;
  let wide = surface.measureText(shown).width;
  while (wide > room && shown.length > 2) {
    shown = shortened(text, Math.max(2, Math.floor((Array.from(shown).length * room) / wide) - 1));
    wide = surface.measureText(shown).width;
  }
  surface.fillText(shown, x, y);
  return wide;
}
