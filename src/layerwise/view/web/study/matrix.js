// Directions by wordings: what is known, or where it settles, in every way in which a fact was asked for.

import { element } from "../shared/text.js";
import { studySetName } from "./data.js";
import { studyCount, studyDepth, studyInterval, studyModelClass, studyName, studyShare } from "./marks.js";

/** One table per set that was asked in several ways; null without any. `choose(set, direction, wording, model)` filters. */
export function studyMatrix(data, { set, milestone, of, choose }) {
  const sets = data.sets.filter((name) => set === null || name === set);
  const tables = sets.map((name) => studyMatrixTable(data, name, { milestone, of, choose })).filter(Boolean);
  return tables.length ? element("div", { class: "lw-study-matrices" }, tables) : null;
}

function studyMatrixTable(data, set, options) {
  const cells = data.cells.filter((cell) => cell.set === set && cell.wording !== null);
  const directions = [...new Set(cells.map((cell) => cell.direction))];
  const wordings = [...new Set(cells.map((cell) => cell.wording))];
  if (directions.length * wordings.length < 2) return null;
  const models = data.models.filter((model) => cells.some((cell) => cell.model === model));
  const head = element("tr", {}, element("td"), wordings.map((wording) => element("th", { text: studyName(wording || "–", 24), attrs: { scope: "col" } })));
  const rows = directions.flatMap((direction) => [
    directions.length > 1 ? element("tr", { class: "lw-study-direction" }, element("th", { text: studyName(direction || "–", 40), attrs: { scope: "rowgroup", colspan: wordings.length + 1 } })) : null,
    ...models.map((model) =>
      element("tr", { class: studyModelClass(data.models.indexOf(model)) },
        element("th", { class: "lw-study-model", attrs: { scope: "row" } }, element("bdi", { text: studyName(model, 28) })),
        wordings.map((wording) => studyMatrixCell(cells.find((cell) => cell.model === model && cell.direction === direction && cell.wording === wording), options)))),
  ]);
  return element("div", { class: "lw-study-matrix" },
    element("table", {}, element("caption", {}, element("bdi", { class: "lw-study-set", text: studyName(studySetName(set)) })), element("thead", {}, head), element("tbody", {}, rows.filter(Boolean))));
}

function studyMatrixCell(cell, { milestone, of, choose }) {
  if (!cell) return element("td");
  const found = of === "known" ? cell.known : cell.depths?.[milestone.key] ?? null;
  const show = of === "known" ? studyShare : studyDepth;
  const text = found ? show(found.value) : "–";
  const what = of === "known" ? "known" : `${milestone.title} at depth`;
  const said = `${what} ${studyInterval(found, show)}, ${studyCount(found?.n ?? 0, "item")}: show the ${studyCount(cell.questions, "question")}`;
  const button = element("button", { class: "lw-study-heat", text, attrs: { type: "button", title: said, "aria-label": said }, on: { click: () => choose(cell) } });
  button.style.setProperty("--lw-study-share", `${found ? Math.round(100 * Math.min(1, found.value)) : 0}%`);
  return element("td", {}, button);
}
