// What the grid's colours and marks mean, below it.

import { element, quantity } from "../shared/text.js";
import { colourScale } from "../shared/scale.js";

/** The key to the grid: the colouring's scale with its ends, the answer's mark, the hatching of bounds. */
export function createLegend(context) {
  const title = element("span");
  const low = element("span");
  const high = element("span");
  const bar = element("span", { class: "lw-legend-bar", attrs: { "aria-hidden": "true" } });
  const sample = (name) => element("span", { class: name, attrs: { "aria-hidden": "true" } });
  const answer = element("span", {}, sample("lw-legend-answer"), "the answer leads");
  const bound = element("span", {}, sample("lw-legend-bound"));
  const bounded = element("span");
  bound.append(bounded);
  const help = element("span", { text: "Each cell: the token that leads. Click or arrow keys choose a cell, Enter pins its token." });
  const made = element("div", { class: "lw-legend" }, element("span", {}, title, low, bar, high), answer, bound, help);
  return {
    element: made,
    update() {
      const colouring = context.colouring();
      const trace = context.trace();
      const scale = colourScale(colouring, context.dark());
      title.textContent = `${colouring.title}:`;
      low.textContent = quantity(colouring.low, colouring.unit);
      high.textContent = quantity(colouring.high, colouring.unit);
      bar.style.background = scale.css();
      answer.hidden = !trace.answer?.ids.length;
      bound.hidden = colouring.key !== "token" && colouring.key !== "answer";
      bounded.textContent = trace.kind === "difference" ? "not stored: only a limit is known" : "not stored: at most this colour";
    },
  };
}
