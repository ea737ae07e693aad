// The edits that are made: each as it is written, with a slider where it has a number, and one more to be typed.

import { editNumber, editTurned } from "./edits.js";
import { element, oneLine, shortened } from "../shared/text.js";

/**
 * The list: `{element, draw(edits), clear()}`; `clear` empties the line for one more.
 *
 * `onTurn(edits, index)` is told of a slider, `onChange(edits)` of an edit that is taken out, `onAdd(text)` of a typed one.
 */
export function createEditList({ onTurn, onChange, onAdd }) {
  const list = element("ol", { class: "lw-edits", attrs: { "aria-label": "Edits" } });
  const typed = element("input", {
    attrs: { type: "text", spellcheck: "false", placeholder: "zero blocks.10.hook_mlp_out@-1", "aria-label": "Another edit, as it is written" },
  });
  const form = element("form", { class: "lw-edits-form" }, typed, element("button", { text: "Add edit", attrs: { type: "submit" } }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (typed.value.trim() !== "") onAdd(typed.value.trim());
  });
  let [shape, rows, edits] = ["", [], []];

  function row(index) {
    const text = element("code");
    const value = element("output");
    const number = editNumber(edits[index]);
    const slider =
      number &&
      element("input", {
        attrs: { type: "range", min: Math.min(number.low, number.value), max: Math.max(number.high, number.value), step: number.step },
        on: { input: () => onTurn(edits.with(index, editTurned(edits[index], Number(slider.value))), index) },
      });
    const name = shortened(oneLine(edits[index]), 60);
    slider?.setAttribute("aria-label", `${number.name} of ${name}`);
    const out = element("button", {
      text: "Remove",
      attrs: { type: "button", "aria-label": `Remove ${name}` },
      on: { click: () => onChange(edits.toSpliced(index, 1)) },
    });
    return { element: element("li", {}, text, slider, number ? value : null, out), text, slider, value };
  }

  return {
    element: element("div", { class: "lw-edits-frame" }, list, form),
    /** The rows stay while nothing but numbers changes: a slider is being held. */
    draw(wanted) {
      edits = wanted;
      const now = JSON.stringify(edits.map((edit) => (editNumber(edit) ? editTurned(edit, "…") : edit)));
      if (now !== shape) {
        shape = now;
        rows = edits.map((_, index) => row(index));
        list.replaceChildren(...rows.map((each) => each.element));
      }
      rows.forEach((each, index) => {
        each.text.textContent = shortened(oneLine(edits[index]), 200);
        if (!each.slider) return;
        const { value } = editNumber(edits[index]);
        each.slider.value = String(value);
        each.value.textContent = String(value);
      });
    },
    clear() {
      typed.value = "";
    },
    typed: () => typed.value.trim(),
  };
}
