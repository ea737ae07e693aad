// The focused cell in full: its top list with bars, its measures, the answer's and tracked tokens' numbers.

import { pinOfAnswer, shownPins } from "./pins.js";
import { element, oneLine, probability, quantity, shortened, tokenElement } from "../shared/text.js";

/** The detail of the focused cell: `element` and `update()`. Each token is a button that pins it. */
export function createDetail(context) {
  const title = element("h3", { class: "lw-detail-title" });
  const lists = element("div", { class: "lw-detail-lists" });
  const numbers = element("div", { class: "lw-detail-numbers" });
  const made = element(
    "section",
    { class: "lw-detail", attrs: { "aria-label": "The chosen cell" } },
    title,
    lists,
    numbers,
  );
  let [known, last] = [null, ""];
  return {
    element: made,
    update() {
      const trace = context.trace();
      const { layer, place, pins, colour, token } = context.state.get();
      const wanted = JSON.stringify([layer, place, pins, colour, token]);
      if (!trace || (trace === known && wanted === last)) return;
      [known, last] = [trace, wanted];
      const focused = detailFocused(made);
      detailTitle(title, trace, layer, place);
      lists.replaceChildren(...detailSides(trace, layer, place).map((side) => detailTop(context, trace, side, place)));
      numbers.replaceChildren(detailMeasures(trace, layer, place), detailTokens(trace, layer, place));
      if (focused) made.querySelector(focused)?.focus();
    },
  };
}

// Tokens are made anew, and the one that was pressed keeps the focus.
function detailFocused(made) {
  const active = document.activeElement?.closest("[data-pin], [data-colour]");
  if (!active || !made.contains(active)) return null;
  const { pin, colour } = active.dataset;
  return pin !== undefined ? `[data-pin="${Number(pin)}"]` : `[data-colour="${Number(colour)}"]`;
}

function detailTitle(title, trace, layer, place) {
  const position = trace.positions[place];
  title.replaceChildren(
    element("span", { class: "lw-detail-layer", text: `Layer ${layer} of ${trace.nLayers}` }),
    element("span", { class: "lw-detail-depth", text: `depth ${trace.depth(layer).toFixed(2)}` }),
    element("span", {}, "after ", tokenElement(trace.tokens[position].text), ` (position ${position})`),
  );
}

function detailSides(trace, layer, place) {
  if (trace.kind !== "difference") return [{ name: null, top: trace.top(layer, place) }];
  const [first, second] = trace.sides;
  const where = first.nLayers === second.nLayers ? "" : `, layer ${trace.otherLayer(layer)} of ${second.nLayers}`;
  return [
    { name: "First", label: first.label, where: "", top: trace.top(layer, place) },
    { name: "Second", label: second.label, where, top: trace.topOther(layer, place) },
  ];
}

function detailTop(context, trace, { name, label, where, top }, place) {
  const pinned = new Set(shownPins(trace, context.state.get(), place));
  const rows = top.map((token) => detailToken(context, token, pinned.has(token.id)));
  const rest = Math.max(0, 1 - top.reduce((sum, token) => sum + token.prob, 0));
  rows.push(
    element(
      "li",
      { class: "lw-detail-row lw-detail-rest" },
      element("span", { class: "lw-detail-token", text: "all others" }),
      detailBar(rest),
      element("span", { class: "lw-detail-prob", text: probability(rest) }),
    ),
  );
  const head = name
    ? element(
        "h4",
        { class: "lw-detail-side" },
        `${name}${where}`,
        element("small", {}, element("bdi", { text: shortened(oneLine(label.slice(0, 400)), 60) })),
      )
    : null;
  const list = element(
    "ol",
    { class: "lw-detail-top", attrs: { "aria-label": name ? `${name}: likeliest tokens` : "Likeliest tokens" } },
    rows,
  );
  return element("div", {}, head, list);
}

function detailToken(context, { id, text, prob, isAnswer }, pinned) {
  const shown = tokenElement(text, { limit: 22 });
  const coloured = context.state.get().colour === "token" && context.state.get().token === id;
  return element(
    "li",
    { class: isAnswer ? "lw-detail-row lw-is-answer" : "lw-detail-row" },
    element(
      "button",
      {
        class: "lw-detail-token",
        attrs: {
          type: "button",
          "aria-pressed": String(pinned),
          "data-pin": String(id),
          title: pinned ? "Unpin from the chart" : "Pin in the chart",
        },
        on: { click: () => context.togglePin(id) },
      },
      shown,
      isAnswer ? element("small", { text: "answer" }) : null,
    ),
    detailBar(prob),
    element("span", { class: "lw-detail-prob", text: probability(prob) }),
    element("button", {
      class: "lw-detail-colour",
      text: "◧",
      attrs: {
        type: "button",
        "aria-pressed": String(coloured),
        "aria-label": `Colour the grid by ${shown.textContent}`,
        "data-colour": String(id),
        title: "Colour the grid by this token",
      },
      on: {
        click: () => context.state.set(coloured ? { colour: "top", token: null } : { colour: "token", token: id }),
      },
    }),
  );
}

function detailBar(share) {
  const bar = element("span", { class: "lw-detail-bar", attrs: { "aria-hidden": "true" } }, element("span", {}));
  bar.firstChild.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`;
  return bar;
}

function detailMeasures(trace, layer, place) {
  const measures = trace.colourings().filter(({ key, perToken }) => !perToken && key !== "top" && key !== "answer");
  const sides = (key) =>
    trace.kind === "difference" ? trace.values(key, layer, place, null) : [trace.value(key, layer, place, null)];
  const rows = measures.flatMap(({ key, title, unit }) => {
    const values = sides(key);
    if (values.every((value) => value === null)) return [];
    const shown = values.map((value) => (value === null ? "–" : quantity(value.value, unit))).join(" → ");
    return [[title.replace(/^change in /, ""), shown]];
  });
  return detailTable("Measures", rows);
}

function detailTokens(trace, layer, place) {
  const sides = trace.kind === "difference" ? trace.sides : [trace];
  const at = sides.map((_, side) => detailPlaceOf(trace, side, layer, place));
  const behindPrompt = place === trace.promptPlace;
  // The answer's own line already says what its token's would.
  const told = behindPrompt ? pinOfAnswer(trace, place) : null;
  const rows = [
    ...(behindPrompt ? detailAnswerRows(trace, "answer", at) : []),
    ...(behindPrompt ? detailAnswerRows(trace, "wrong", at) : []),
    ...trace.tracked
      .filter((token) => token.id !== told)
      .map((token) => [tokenElement(token.text), detailTracked(trace, token, at)]),
  ];
  return detailTable("Followed", rows);
}

function detailPlaceOf(trace, side, layer, place) {
  if (trace.kind !== "difference") return { layer, place };
  const { first, second } = trace.columns[place];
  return side ? { layer: trace.otherLayer(layer), place: second } : { layer, place: first };
}

function detailAnswerRows(trace, which, at) {
  if (!trace[which]) return [];
  const answers = (trace.kind === "difference" ? trace.sides : [trace]).map((side) => side[which]);
  const name = which === "answer" ? "answer" : "wrong answer";
  const read = (curve, said) => answers.map((answer, side) => said(answer[curve][at[side].layer])).join(" → ");
  const texts = [...new Set(answers.map((answer) => answer.texts[0]))];
  const { index, text } = trace[which].deciding;
  const decided = index > 0 ? [", decided by ", tokenElement(text)] : [];
  const label = element("span", {}, `${name} `, ...texts.map((one) => tokenElement(one)), ...decided);
  return [
    [label, `${read("prob", probability)}, rank ${read("rank", String)}`],
    [`${name}, all of its tokens`, read("logprob", (logprob) => probability(Math.exp(logprob)))],
    [`${name}, lead over the best other token`, read("margin", (margin) => quantity(margin, "logits"))],
  ];
}

function detailTracked(trace, token, at) {
  const sides = trace.kind === "difference" ? trace.sides : [trace];
  return sides
    .map((side, index) => {
      const id = index ? trace.ids.toSecond(token.id) : token.id;
      const found = side.trackedById.get(id);
      if (!found) return "–";
      const place = at[index].layer * side.positions.length + at[index].place;
      return `${probability(Math.exp(found.logprobs.data[place]))}, rank ${found.ranks.data[place]}`;
    })
    .join(" → ");
}

function detailTable(caption, rows) {
  if (!rows.length) return "";
  const body = rows.map(([name, value]) =>
    element("tr", {}, element("th", { attrs: { scope: "row" } }, name), element("td", { text: value })),
  );
  return element(
    "table",
    { class: "lw-detail-table" },
    element("caption", { text: caption }),
    element("tbody", {}, body),
  );
}
