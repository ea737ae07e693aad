// The tooltip over the grid: a cell's top list with bars. Its elements are made once and filled anew.

import { element, probability, shortened, visible } from "../shared/text.js";
import { valueWords } from "./words.js";

/** The tooltip: `element`, `show({layer, place}, clientX, clientY)` and `hide()`. */
export function createTip(context) {
  const head = element("div", { class: "lw-tip-head" });
  const lists = [element("div", { class: "lw-tip-list" }), element("div", { class: "lw-tip-list" })];
  const foot = element("div", { class: "lw-tip-foot" });
  const made = element("div", { class: "lw-tip", attrs: { "aria-hidden": "true", hidden: true } }, head, ...lists, foot);
  let shown = "";
  return {
    element: made,
    hide() {
      made.hidden = true;
    },
    show({ layer, place }, x, y) {
      const trace = context.trace();
      const state = context.state.get();
      const key = `${layer} ${place} ${state.colour} ${state.token} ${trace.label}`;
      if (key !== shown || made.hidden) {
        shown = key;
        made.hidden = false;
        if (layer === null || place === null) tipLabel(trace, layer, place, head, [...lists, foot]);
        else tipCell(context, layer, place, { head, lists, foot });
      }
      tipPlace(made, x, y);
    },
  };
}

function tipLabel(trace, layer, place, head, rest) {
  for (const part of rest) part.replaceChildren();
  const position = place === null ? null : trace.positions[place];
  head.textContent =
    place === null
      ? `Layer ${layer} of ${trace.nLayers}, depth ${trace.depth(layer).toFixed(2)}`
      : `Token at position ${position}: ${shortened(visible(trace.tokens[position].text.slice(0, 400)), 160)}`;
}

function tipCell(context, layer, place, { head, lists, foot }) {
  const trace = context.trace();
  const position = trace.positions[place];
  head.replaceChildren(
    `Layer ${layer}, after `,
    element("bdi", { class: "lw-token", text: shortened(visible(trace.tokens[position].text.slice(0, 200)), 24) }),
    ` (position ${position})`,
  );
  const sides = trace.kind === "difference" ? [trace.top(layer, place), trace.topOther(layer, place)] : [trace.top(layer, place), []];
  sides.forEach((rows, side) => tipFill(lists[side], rows));
  const { key, title, unit } = context.colouring();
  const found = key === "top" ? null : trace.value(key, layer, place, context.state.get().token);
  foot.textContent = found === null ? "" : `${title}: ${valueWords(found, unit)}`;
}

function tipFill(list, rows) {
  const shown = rows.slice(0, 8);
  while (list.children.length < shown.length) {
    const bar = element("span", { class: "lw-tip-bar" });
    list.append(element("div", { class: "lw-tip-row" }, bar, element("bdi", { class: "lw-token" }), element("span", { class: "lw-tip-number" })));
  }
  [...list.children].forEach((row, index) => {
    row.hidden = index >= shown.length;
    if (row.hidden) return;
    const [bar, token, number] = row.children;
    const { text, prob, isAnswer } = shown[index];
    bar.style.width = `${Math.max(0.5, 100 * prob)}%`;
    token.textContent = shortened(visible(text.slice(0, 200)), 24);
    number.textContent = probability(prob);
    row.classList.toggle("lw-is-answer", isAnswer);
  });
}

/** Beside the pointer, on the side where there is room. */
export function tipPlace(tip, x, y) {
  const box = tip.offsetParent?.getBoundingClientRect() ?? { left: 0, top: 0 };
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = x + 16 + width <= innerWidth ? x + 16 : Math.max(4, x - 16 - width);
  const top = y + 16 + height <= innerHeight ? y + 16 : Math.max(4, y - 12 - height);
  tip.style.transform = `translate(${Math.round(left - box.left)}px, ${Math.round(top - box.top)}px)`;
}
