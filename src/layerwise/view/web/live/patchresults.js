// What came of a patch: what each run says, by which token the grids are coloured, and what makes the traces again.

import { exportCopy } from "../exports/exports.js";
import { element, probability, quantity, tokenElement, visible } from "../shared/text.js";

const PATCH_RUNS = ["source", "prompt", "patched", "placebo"];

/** The results: `element`, and `draw(traces, patch, behind)`, which returns the grids' colouring `{key, token}`. */
export function createPatchResults(context, { onColour, onKeep }) {
  const table = element("table", { class: "lw-patch-table" });
  const colours = element("select", { on: { change: () => onColour(colours.value) } });
  const said = element("p", { class: "lw-exports-said", attrs: { role: "status" } });
  const text = element("textarea", { class: "lw-exports-text", attrs: { readonly: true, rows: "6", spellcheck: "false", "aria-label": "Recipe" } });
  let recipes = [];
  const copy = (name, key) =>
    element("button", { text: name, attrs: { type: "button" }, on: { click: async () => (said.textContent = await exportCopy(patchRecipe(recipes, key), text)) } });
  const recipe = element(
    "details",
    { class: "lw-patch-recipe" },
    element("summary", { text: "Recipe" }),
    text,
    element("div", { class: "lw-live-buttons" }, copy("Copy as Python", "python"), copy("Copy as command", "cli")),
    said,
  );
  const keep = element("button", { text: "Keep as a trace", attrs: { type: "button" }, on: { click: onKeep } });
  const colour = element("label", { class: "lw-field" }, element("span", { class: "lw-label", text: "Colour" }), colours);
  const made = element(
    "div",
    { class: "lw-patch-results" },
    table,
    element("div", { class: "lw-toolbar" }, colour, keep),
    recipe,
  );
  return {
    element: made,
    draw(traces, patch, behind) {
      made.classList.toggle("lw-patch-behind", behind);
      table.replaceChildren(...patchTable(traces));
      const followed = traces[1].tracked;
      const offered = [["top", "the top token’s probability"], ...followed.map(({ id, text: token }) => [String(id), `probability of ${visible(token)}`])];
      colours.replaceChildren(...offered.map(([value, name]) => element("option", { text: name, attrs: { value } })));
      const known = offered.some(([value]) => value === patch.colour);
      colours.value = known ? patch.colour : "top";
      recipes = [traces[2], traces[3]].filter(Boolean).map((trace) => trace.recipes ?? {});
      recipe.hidden = recipes.length === 0;
      keep.disabled = recipes.length === 0;
      const both = ["python", "cli"].map((key) => patchRecipe(recipes, key)).filter(Boolean);
      const whole = both.join("\n\n");
      if (text.value !== whole) text.value = whole;
      return colours.value === "top" ? { key: "top", token: null } : { key: "token", token: Number(colours.value) };
    },
  };
}

/** The patched trace's recipe and its placebo's. */
function patchRecipe(recipes, key) {
  return recipes.map((each) => each[key]).filter(Boolean).join("\n");
}

function patchTable(traces) {
  const followed = traces[1].tracked;
  const head = element(
    "tr",
    {},
    element("th", { text: "after the last token", attrs: { scope: "col" } }),
    element("th", { text: "says", attrs: { scope: "col" } }),
    followed.map(({ text }) => element("th", { attrs: { scope: "col" } }, tokenElement(text))),
    followed.length > 1 ? element("th", { text: "difference in logits of the first two", attrs: { scope: "col" } }) : null,
  );
  const rows = traces.flatMap((trace, index) => (trace ? [patchRow(trace, PATCH_RUNS[index], followed)] : []));
  return [element("thead", {}, head), element("tbody", {}, rows)];
}

function patchRow(trace, name, followed) {
  const place = trace.promptPlace;
  const at = trace.nLayers * trace.positions.length + place;
  const best = trace.cell(trace.nLayers, place);
  const found = followed.map(({ id }) => trace.trackedById.get(id));
  const logprobs = found.map((token) => token.logprobs.data[at]);
  return element(
    "tr",
    {},
    element("th", { text: name, attrs: { scope: "row" } }),
    element("td", {}, tokenElement(best.text), ` ${probability(best.prob)}`),
    found.map((token, index) => element("td", { text: `${probability(Math.exp(logprobs[index]))}, rank ${token.ranks.data[at]}` })),
    followed.length > 1 ? element("td", { text: quantity(logprobs[0] - logprobs[1], "") }) : null,
  );
}
