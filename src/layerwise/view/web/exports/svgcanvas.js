// A drawing surface like a canvas's, as far as the grid's drawing needs one, that writes SVG.

/** Takes the calls of a 2D canvas and gives `svg(title)`, the drawing as text. Nothing in it is markup of the data's. */
export class SvgCanvas {
  constructor(width, height) {
    this.size = [width, height];
    this.parts = [];
    this.clips = [];
    this.saved = [];
    this.path = "";
    this.ruler = document.createElement("canvas").getContext("2d");
    this.now = {
      fill: "#000",
      stroke: "#000",
      alpha: 1,
      line: 1,
      font: "12px sans-serif",
      align: "left",
      x: 0,
      y: 0,
      groups: 0,
    };
  }

  set fillStyle(value) {
    this.now.fill = value;
  }
  set strokeStyle(value) {
    this.now.stroke = value;
  }
  set lineWidth(value) {
    this.now.line = value;
  }
  set font(value) {
    this.now.font = value;
  }
  set textAlign(value) {
    this.now.align = value;
  }
  set globalAlpha(value) {
    this.now.alpha = value;
  }
  get globalAlpha() {
    return this.now.alpha;
  }

  save() {
    this.saved.push({ ...this.now });
    this.now.groups = 0;
  }

  restore() {
    this.parts.push("</g>".repeat(this.now.groups));
    this.now = this.saved.pop();
  }

  translate(x, y) {
    this.now.x += x;
    this.now.y += y;
  }

  beginPath() {
    this.path = "";
  }

  moveTo(x, y) {
    this.path += `M${this.at(x, y)}`;
  }

  lineTo(x, y) {
    this.path += `L${this.at(x, y)}`;
  }

  rect(x, y, width, height) {
    this.path += `M${this.at(x, y)}h${svgCanvasNumber(width)}v${svgCanvasNumber(height)}h${svgCanvasNumber(-width)}Z`;
  }

  clip() {
    const name = `clip${this.clips.length}`;
    this.clips.push(`<clipPath id="${name}"><path d="${this.path}"/></clipPath>`);
    this.parts.push(`<g clip-path="url(#${name})">`);
    this.now.groups += 1;
  }

  stroke() {
    this.parts.push(`<path d="${this.path}" fill="none"${this.paint("stroke")} stroke-width="${this.now.line}"/>`);
  }

  fill() {
    this.parts.push(`<path d="${this.path}"${this.paint("fill")}/>`);
  }

  fillRect(x, y, width, height) {
    this.parts.push(`<rect${this.box(x, y, width, height)}${this.paint("fill")}/>`);
  }

  strokeRect(x, y, width, height) {
    this.parts.push(
      `<rect${this.box(x, y, width, height)} fill="none"${this.paint("stroke")} stroke-width="${this.now.line}"/>`,
    );
  }

  measureText(text) {
    this.ruler.font = this.now.font;
    return this.ruler.measureText(text);
  }

  /** Text around its middle, as the grid is drawn. Not every reader of SVG knows `dominant-baseline`. */
  fillText(text, x, y) {
    const { weight, slant, size, family } = svgCanvasFont(this.now.font);
    const anchor = { right: "end", center: "middle" }[this.now.align];
    const [left, middle] = [svgCanvasNumber(x + this.now.x), svgCanvasNumber(y + this.now.y + 0.35 * size)];
    this.parts.push(
      `<text x="${left}" y="${middle}" font-size="${size}" font-family="${svgCanvasEscaped(family)}"` +
        `${weight ? ` font-weight="${weight}"` : ""}${slant ? ' font-style="italic"' : ""}` +
        `${anchor ? ` text-anchor="${anchor}"` : ""}${this.paint("fill")} direction="ltr" xml:space="preserve">` +
        `${svgCanvasEscaped(text)}</text>`,
    );
  }

  svg(title) {
    const [width, height] = this.size.map(Math.ceil);
    return (
      '<?xml version="1.0" encoding="UTF-8"?>\n' +
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">\n` +
      `<title>${svgCanvasEscaped(title)}</title>\n<defs>${this.clips.join("")}</defs>\n${this.parts.join("\n")}\n</svg>\n`
    );
  }

  at(x, y) {
    return `${svgCanvasNumber(x + this.now.x)} ${svgCanvasNumber(y + this.now.y)}`;
  }

  box(x, y, width, height) {
    const [left, top] = [svgCanvasNumber(x + this.now.x), svgCanvasNumber(y + this.now.y)];
    return ` x="${left}" y="${top}" width="${svgCanvasNumber(width)}" height="${svgCanvasNumber(height)}"`;
  }

  paint(kind) {
    const opacity = this.now.alpha < 1 ? ` ${kind}-opacity="${svgCanvasNumber(this.now.alpha)}"` : "";
    return ` ${kind}="${svgCanvasEscaped(this.now[kind])}"${opacity}`;
  }
}

/** Text for SVG: no markup, and none of the characters that XML does not allow. */
export function svgCanvasEscaped(text) {
  const named = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text)
    .replace(/[&<>"']/g, (found) => named[found])
    .replace(
      /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
      "\ufffd",
    );
}

function svgCanvasNumber(value) {
  return Math.round(value * 100) / 100;
}

function svgCanvasFont(font) {
  const [, before, size, family] = /^(.*?)([\d.]+)px\s+(.*)$/.exec(font) ?? [null, "", "12", "sans-serif"];
  return { weight: /\b[1-9]00\b/.exec(before)?.[0], slant: before.includes("italic"), size: Number(size), family };
}
