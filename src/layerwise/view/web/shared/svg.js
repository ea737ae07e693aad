// SVG elements, and the signs by which pins are told apart beside their colours.

/** An SVG element; attributes whose value is null are left out. */
export function svgElement(tag, attrs = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** How the pin in a slot is drawn: a class that gives its colour, dashes and a marker. 32 slots look different. */
export function pinLook(slot) {
  const dashes = [null, "7 3", "11 3 3 3", "4 2"];
  const turn = slot + Math.floor(slot / 8);
  return { class: `lw-pin-${slot % 8}`, dash: dashes[turn % dashes.length], marker: turn % 8 };
}

/** A pin's marker around a point, filled or hollow. */
export function pinMarker(marker, x, y, { hollow = false, radius = 3.4 } = {}) {
  return svgElement("path", {
    class: hollow ? "lw-marker lw-marker-hollow" : "lw-marker",
    d: svgMarkerPath(marker, x, y, radius),
  });
}

/** A short piece of a pin's line with its marker, for legends. */
export function pinSwatch(look, { dash = look.dash, hollow = false } = {}) {
  return svgElement(
    "svg",
    { class: `lw-swatch ${look.class}`, width: 28, height: 14, viewBox: "0 0 28 14", "aria-hidden": "true" },
    svgElement("path", { class: "lw-curve", d: "M1 7H27", "stroke-dasharray": dash }),
    pinMarker(look.marker, 14, 7, { hollow }),
  );
}

function svgMarkerPath(marker, x, y, r) {
  const polygon = (...points) =>
    `M${points.map(([dx, dy]) => `${svgNumber(x + dx * r)} ${svgNumber(y + dy * r)}`).join("L")}Z`;
  const cross = (t, u) =>
    polygon([-t, -u], [t, -u], [t, -t], [u, -t], [u, t], [t, t], [t, u], [-t, u], [-t, t], [-u, t], [-u, -t], [-t, -t]);
  switch (marker) {
    case 0:
      return `M${svgNumber(x - r)} ${svgNumber(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
    case 1:
      return polygon([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]);
    case 2:
      return polygon([0, -1.2], [1.15, 0.85], [-1.15, 0.85]);
    case 3:
      return polygon([0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]);
    case 4:
      return polygon([0, 1.2], [1.15, -0.85], [-1.15, -0.85]);
    case 5:
      return cross(0.4, 1.2);
    case 6:
      return polygon([-1.3, -0.45], [1.3, -0.45], [1.3, 0.45], [-1.3, 0.45]);
    default:
      return polygon([-0.45, -1.3], [0.45, -1.3], [0.45, 1.3], [-0.45, 1.3]);
  }
}

/** A coordinate with one decimal: a tenth of a pixel cannot be seen. */
export function svgNumber(value) {
  return Math.round(value * 10) / 10;
}
