// Patch grids: which prompts, how their tokens stand for each other, and a heatmap of each kind of site.

import { createHeatmap, PATCH_OUTSIDE, patchQuantity } from "./heatmap.js";
import { colourScale } from "../shared/scale.js";
import { element, oneLine, quantity, quoted, shortened, tokenElement } from "../shared/text.js";
import { tipPlace } from "../grid/tip.js";

/** The view of a document's patch grids: `{element, update()}`. */
export function createPatching(context) {
  const pairs = element("select", { on: { change: () => context.state.set({ patching: Number(pairs.value) }) } });
  const kinds = element("div", { class: "lw-buttons", attrs: { role: "group", "aria-label": "What is patched" } });
  const colours = element("select", { on: { change: () => context.state.set({ effect: colours.value }) } });
  const field = (name, control, tag = "label") =>
    element(tag, { class: "lw-field" }, element("span", { class: "lw-label", text: name }), control);
  const chooser = field("Prompts", pairs);
  const toolbar = element("div", { class: "lw-toolbar" }, chooser, field("Patched", kinds, "div"), field("Colour", colours));
  const about = element("div", { class: "lw-patching-about" });
  const legend = element("div", { class: "lw-legend" });
  const detail = element("section", { class: "lw-detail", attrs: { "aria-label": "The chosen cell" } });
  const holder = element("div");
  const tip = element("div", { class: "lw-tip", attrs: { "aria-hidden": "true", hidden: true } });
  const frame = element("div", { class: "lw-grid-frame" }, holder, tip);
  const body = element("div", { class: "lw-patching-body" }, element("div", { class: "lw-main" }, frame, legend), detail);
  let [known, drawn, heatmap] = [null, "", null];

  function options(select, list) {
    select.replaceChildren(...list.map(([value, text]) => element("option", { text, attrs: { value } })));
  }

  function begin(patching) {
    known = patching;
    options(pairs, context.patchings().map((one, index) => [index, shortened(oneLine(one.label.slice(0, 400)), 70)]));
    chooser.hidden = context.patchings().length < 2;
    kinds.replaceChildren(
      ...patching.grids.map(({ kind }) =>
        element("button", { text: kind, attrs: { type: "button", "data-kind": kind }, on: { click: () => context.state.set({ kind }) } }),
      ),
    );
    about.replaceChildren(patchingHeadline(patching), ...patchingNotes(patching), patchingAlignment(patching));
  }

  function draw(patching, grid, colouring) {
    const scale = colourScale(colouring, context.dark());
    options(colours, grid.colourings().map(({ key, title }) => [key, title]));
    heatmap = createHeatmap(grid, colouring, {
      dark: context.dark(),
      called: `${grid.kind}, blocks by ${grid.ofHeads ? "heads" : "positions"}: ${colouring.title} in each cell. Arrow keys move.`,
      onChoose: (row, column) => context.state.set({ row, column }),
      onHover(place, event) {
        tip.hidden = place === null;
        if (place === null) return;
        tip.replaceChildren(...patchingCell(patching, grid, ...place));
        tipPlace(tip, event.clientX, event.clientY);
      },
    });
    holder.replaceChildren(heatmap.element);
    const ends = ["low", "high"].map((end) => element("span", { text: patchQuantity(colouring[end], colouring.unit) }));
    const bar = element("span", { class: "lw-legend-bar", attrs: { "aria-hidden": "true" } });
    bar.style.background = scale.css();
    const outside = element("span", { class: "lw-heat-outside lw-legend-outside", attrs: { "aria-hidden": "true" } });
    legend.replaceChildren(
      element("span", {}, `${colouring.title}:`, ends[0], bar, ends[1]),
      element("span", {}, outside, PATCH_OUTSIDE),
      element("span", { text: "Click or arrow keys choose a cell." }),
    );
  }

  return {
    element: element("section", { class: "lw-patching", attrs: { "aria-label": "Patch grids" } }, about, toolbar, body),
    update() {
      const state = context.state.get();
      const patching = context.patchings()[state.patching];
      if (!patching) return;
      if (patching !== known) begin(patching);
      const grid = patching.grids.find(({ kind }) => kind === state.kind) ?? patching.grids[0];
      const offered = grid.colourings();
      const colouring = offered.find(({ key }) => key === state.effect) ?? offered[0];
      const wanted = JSON.stringify([state.patching, grid.kind, colouring.key, context.dark()]);
      const anew = wanted !== drawn;
      if (anew) draw(patching, grid, colouring);
      drawn = wanted;
      pairs.value = String(state.patching);
      colours.value = colouring.key;
      for (const one of kinds.children) one.setAttribute("aria-pressed", String(one.dataset.kind === grid.kind));
      const [row, column] = patchingChosen(grid, state, colouring);
      heatmap.choose(row, column);
      detail.replaceChildren(...patchingCell(patching, grid, row, column));
    },
  };
}

/** The chosen cell; at first the one in which most happens. */
function patchingChosen(grid, { row, column }, { key, low, high }) {
  if (row !== null && column !== null && row < grid.blocks.length && column < grid.columns.length) return [row, column];
  let [best, most] = [[grid.blocks.length - 1, grid.columns.length - 1], -1];
  grid.blocks.forEach((_, at) => {
    grid.columns.forEach((__, beside) => {
      const size = Math.abs((grid.value(key, at, beside) ?? 0) - (low + high) / 2);
      if (grid.reaches(at, beside) && size > most) [best, most] = [[at, beside], size];
    });
  });
  return best;
}

function patchingHeadline({ direction, model, answer, against, unpatched, source, noise, window }) {
  const name = shortened(oneLine(String(model?.name ?? "").slice(0, 400)), 80);
  const how = direction === "denoise" ? "the clean run’s values put into the corrupted run" : "the corrupted run’s values put into the clean run";
  const measured = against ? `${quoted(answer.text)} against ${quoted(against.text)}` : quoted(answer.text);
  const says = (run) => {
    const difference = run.logit_difference === null ? "" : `, logit difference ${quantity(run.logit_difference, "")}`;
    return `says ${quoted(run.top)} (log-probability of the answer ${quantity(run.answer_logprob, "")}${difference})`;
  };
  const noisy = noise ? ` Corrupted by noise of ${noise.deviations} deviations on ${quoted(noise.subject)}, ${noise.draws} draws.` : "";
  const wide = window > 1 ? `, ${window} blocks at a time` : "";
  return element(
    "div",
    {},
    element("h2", { class: "lw-headline", text: `What brings ${measured}: ${how}, place by place${wide}.` }),
    element("p", { class: "lw-about", text: `${name} · unpatched ${says(unpatched)}; the source ${says(source)}.${noisy}` }),
  );
}

function patchingNotes({ notes }) {
  return notes.map((note) => element("p", { class: "lw-message", text: shortened(oneLine(note), 600) }));
}

/** Both prompts, tokens that stand for each other in one column. */
function patchingAlignment({ clean, corrupted, pairs }) {
  const columns = [];
  let [at, beside] = [0, 0];
  for (const [one, other] of [...pairs, [clean.length, corrupted.length]]) {
    while (at < one) columns.push([at++, null]);
    while (beside < other) columns.push([null, beside++]);
    if (one < clean.length) columns.push([at++, beside++]);
  }
  const line = (name, tokens, side) =>
    element(
      "tr",
      {},
      element("th", { text: name, attrs: { scope: "row" } }),
      columns.map((pair) => {
        const other = [clean, corrupted].map((each, index) => each[pair[index]]?.text);
        const differs = other[0] !== other[1];
        if (pair[side] === null) return element("td", { class: "lw-aligned-none", attrs: { "aria-label": "no counterpart" } });
        return element("td", { class: differs ? "lw-aligned-differs" : null }, tokenElement(tokens[pair[side]].text));
      }),
    );
  const table = element(
    "table",
    { class: "lw-aligned" },
    element("caption", { text: "Tokens that stand for each other; those that differ are outlined." }),
    element("tbody", {}, line("clean", clean, 0), line("corrupted", corrupted, 1)),
  );
  return element("div", { class: "lw-aligned-frame", attrs: { tabindex: "0", role: "region", "aria-label": "Alignment" } }, table);
}

/** A cell's place and all of its numbers. */
function patchingCell(patching, grid, row, column) {
  const token = grid.token(column);
  const block = patching.window > 1 ? `${patching.window} blocks around ${grid.blocks[row]}` : `block ${grid.blocks[row]}`;
  const place = grid.ofHeads ? `head ${grid.columns[column]}` : element("span", {}, tokenElement(token), ` (position ${grid.columns[column]})`);
  const head = element("h3", { class: "lw-detail-title" }, `${grid.kind}, ${block}, `, place);
  const rows = grid.colourings().map(({ key, title, unit }) =>
    element(
      "tr",
      {},
      element("th", { text: title, attrs: { scope: "row" } }),
      element("td", { text: patchQuantity(grid.value(key, row, column), unit) }),
    ),
  );
  const outside = grid.reaches(row, column) ? null : element("p", { text: `This cell is ${PATCH_OUTSIDE}.` });
  return [head, outside, element("table", { class: "lw-detail-table" }, element("tbody", {}, rows))].filter(Boolean);
}
