// The layers that have arrived so far, before there is a whole trace to show: a small table that grows upwards.

import { colourScale } from "../shared/scale.js";
import { element, probability, tokenElement } from "../shared/text.js";

/** A growing table of layers, in the grid's colours; `add(layer)` takes a message of the stream, `clear()` empties it. */
export function createLivePreview(context) {
  const body = element("tbody");
  const caption = element("caption");
  const head = element("tr");
  const table = element("table", { class: "lw-live-layers" }, caption, element("thead", {}, head), body);
  const box = element(
    "div",
    { class: "lw-live-preview", attrs: { role: "region", "aria-label": "Layers as they arrive", tabindex: "0" } },
    table,
  );
  box.hidden = true;

  function begin(layer, places) {
    const tokens = places.map((place) => layer.tokens[layer.positions[place]]);
    head.replaceChildren(
      element("th", { text: "layer", attrs: { scope: "col" } }),
      ...tokens.map((token) => element("th", { attrs: { scope: "col" } }, tokenElement(token ? token[1] : ""))),
    );
    box.hidden = false;
  }

  function add(layer) {
    const places = livePlaces(layer.positions.length);
    const scale = colourScale({ low: 0, high: 1 }, context.dark());
    if (box.hidden || layer.index === 0) begin(layer, places);
    if (layer.index === 0) body.replaceChildren();
    caption.textContent = `Layer ${layer.index} of ${layer.n_layers} has arrived`;
    body.prepend(
      element(
        "tr",
        {},
        element("th", { text: layer.index, attrs: { scope: "row" } }),
        ...places.map((place) => liveCell(layer.top[place][0], scale)),
      ),
    );
  }

  function clear() {
    box.hidden = true;
    head.replaceChildren();
    body.replaceChildren();
    caption.textContent = "";
  }

  return { element: box, add, clear };
}

/** The last dozen places: what a small table has room for. */
function livePlaces(count) {
  const first = Math.max(0, count - 12);
  return Array.from({ length: count - first }, (_, at) => first + at);
}

function liveCell(token, scale) {
  const cell = element("td");
  if (!token) return cell;
  const [, text, prob] = token;
  cell.append(
    tokenElement(text, { limit: 14 }),
    element("span", { text: ` ${probability(prob)}` }),
  );
  if (prob !== null) Object.assign(cell.style, { background: scale.fill(prob), color: scale.ink(prob) });
  return cell;
}
