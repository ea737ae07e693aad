// All questions as a table: sorted by any column, filtered by words and by `column:value`, shown page by page.

import { element, probability, tokenElement } from "../shared/text.js";
import { studySetName } from "./data.js";
import { studyCount, studyModelClass, studyName } from "./marks.js";

/**
 * The rows that a filter lets through. Words must all occur in the question; `known:yes`, `known:no`, `model:NAME`,
 * `direction:NAME` and `wording:NAME` compare a column, quotes keep spaces: `model:"my model"`.
 */
export function studyFiltered(data, { set, filter }) {
  const terms = studyTerms(filter);
  return data.rows.filter((row) => (set === null || data.value(row, "set") === set) && terms.every((term) => studyMatches(data, row, term)));
}

/** `filter` with one `column:value` term put in, or taken out where the value is null. */
export function studyWithTerm(filter, column, value) {
  const kept = studyTerms(filter).filter((term) => term.column !== column).map((term) => term.written);
  if (value !== null) kept.push(`${column}:${/[\s"]/.test(value) || value === "" ? `"${value.replaceAll('"', "")}"` : value}`);
  return kept.join(" ").slice(0, 500);
}

/** The value of a filter's `column:value` term, or null. */
export function studyTermOf(filter, column) {
  return studyTerms(filter).find((term) => term.column === column)?.value ?? null;
}

function studyTerms(filter) {
  return [...filter.matchAll(/(?:(known|model|direction|wording):)?(?:"([^"]*)"|(\S+))/gu)].map(([written, column = null, kept, bare]) => ({ written, column, value: kept ?? bare }));
}

function studyMatches(data, row, { column, value }) {
  if (column === "known") return Boolean(data.value(row, "known")) === (value === "yes");
  if (column === "model") return studyFolded(data.model(row)) === studyFolded(value);
  if (column !== null) return studyFolded(data.value(row, column)) === studyFolded(value);
  const sought = studyFolded(value);
  return ["id", "prompt", "answer", "set", "item"].some((name) => studyFolded(data.value(row, name)).includes(sought));
}

function studyFolded(text) {
  return String(text ?? "").replaceAll('"', "").toLocaleLowerCase();
}

/** Rows by a column, `-` in front of its name for the reverse; rows without a value come last either way. */
export function studySorted(data, rows, sort) {
  if (sort === null) return rows;
  const down = sort.startsWith("-");
  const column = studyColumns(data).find(({ key }) => key === (down ? sort.slice(1) : sort));
  if (!column) return rows;
  const keyed = rows.map((row) => ({ row, key: column.by(row) }));
  const order = new Intl.Collator("en", { numeric: true }).compare;
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null) || a.row - b.row;
    const apart = typeof a.key === "string" ? order(a.key, b.key) : a.key - b.key;
    return (down ? -apart : apart) || a.row - b.row;
  });
  return keyed.map(({ row }) => row);
}

/** The table's columns: `by(row)` is what is sorted by, `cell(row)` what is shown. */
function studyColumns(data) {
  const value = (key) => (row) => data.value(row, key);
  const text = (key, limit) => (row) => element("bdi", { text: studyName(data.value(row, key), limit) });
  const optional = (column) => (data.columns[column.key]?.some((one) => one !== "" && one !== null) ? [column] : []);
  const known = (row) => (data.value(row, "known") === null ? "" : data.value(row, "known") ? "✓ yes" : "no");
  return [
    { key: "prompt", title: "question", by: value("prompt"), cell: text("prompt", 90), wide: true },
    { key: "model", title: "model", by: (row) => data.model(row), cell: (row) => element("bdi", { class: `lw-study-model ${studyModelClass(data.columns.model[row])}`, text: studyName(data.model(row), 28) }) },
    { key: "answer", title: "answer", by: value("answer"), cell: (row) => studyToken(data.value(row, "answer")) },
    { key: "says", title: "says", help: "the token that leads at the last layer", by: (row) => data.says(row), cell: (row) => studyToken(data.says(row)) },
    { key: "known", title: "known", help: "the model would write the whole answer by itself", by: (row) => (data.value(row, "known") === null ? null : Number(data.value(row, "known"))), cell: (row) => known(row) },
    { key: "output_prob", title: "p(answer)", help: "of the whole answer, at the output", number: true, by: value("output_prob"), cell: (row) => studyProbability(data.value(row, "output_prob")) },
    ...data.milestones.flatMap(({ key, short, help }) => optional({ key, title: short, help, number: true, by: (row) => data.depth(row, key), cell: (row) => studyLayer(data, row, key) })),
    { key: "set", title: "set", by: value("set"), cell: (row) => element("bdi", { text: studyName(studySetName(data.value(row, "set")), 24) }) },
    ...optional({ key: "direction", title: "direction", by: value("direction"), cell: text("direction", 30) }),
    ...optional({ key: "wording", title: "wording", by: value("wording"), cell: text("wording", 24) }),
  ];
}

function studyToken(text) {
  return text === null ? element("span", { class: "lw-study-dim", text: "–" }) : tokenElement(String(text), { limit: 18 });
}

function studyProbability(value) {
  if (value === null) return "–";
  const bar = element("span", { class: "lw-study-cell-bar", attrs: { "aria-hidden": "true" } });
  bar.style.inlineSize = `${(100 * Math.min(1, value)).toFixed(1)}%`;
  return [bar, element("span", { text: probability(value) })];
}

function studyLayer(data, row, key) {
  const layer = data.value(row, key);
  if (layer === null) return element("span", { class: "lw-study-dim", text: "never" });
  return [String(layer), element("span", { class: "lw-study-dim", text: ` / ${data.nLayers(row)}` })];
}

/** The table of `data`. `context` has `open(row)`, `set(patch)`, `announce(text)`; `draw({set, filter, sort, chosen})` fills it, `focus(row)` goes to a row. */
export function studyTable(context, data) {
  const perPage = 50;
  const columns = studyColumns(data);
  let [page, rows, drawn] = [0, [], ""];
  const headers = columns.map((column) => studyHeader(column, (key) => context.sort(key)));
  const body = element("tbody");
  const said = element("p", { class: "lw-study-found", attrs: { role: "status" } });
  const turn = (by) => {
    page += by;
    fill();
    said.scrollIntoView({ block: "nearest" });
  };
  const back = element("button", { text: "‹ back", attrs: { type: "button" }, on: { click: () => turn(-1) } });
  const on = element("button", { text: "more ›", attrs: { type: "button" }, on: { click: () => turn(1) } });
  const where = element("span", { class: "lw-study-dim" });
  let chosen = null;

  function fill() {
    const pages = Math.max(1, Math.ceil(rows.length / perPage));
    page = Math.max(0, Math.min(pages - 1, page));
    const shown = rows.slice(page * perPage, (page + 1) * perPage);
    body.replaceChildren(...shown.map((row) => studyTableRow(columns, data, row, chosen, context.open)));
    [back.disabled, on.disabled] = [page === 0, page === pages - 1];
    where.textContent = rows.length ? `${page * perPage + 1} to ${page * perPage + shown.length} of ${rows.length.toLocaleString("en-US")}` : "";
  }

  function draw(next) {
    const key = JSON.stringify([next.set, next.filter, next.sort]);
    if (key !== drawn) {
      [drawn, page] = [key, 0];
      rows = studySorted(data, studyFiltered(data, next), next.sort);
      const known = rows.filter((row) => data.value(row, "known")).length;
      said.textContent = `${studyCount(rows.length, "question")}, ${known.toLocaleString("en-US")} of them known`;
      headers.forEach((header, index) => studyMarkSorted(header, columns[index].key, next.sort));
    }
    chosen = next.chosen;
    fill();
  }

  const focus = (row) => body.querySelector(`[data-question="${row}"]`)?.focus({ preventScroll: true });

  const scroll = element("div", { class: "lw-study-scroll", attrs: { tabindex: 0, role: "region", "aria-label": "Questions, can be scrolled sideways" } },
    element("table", { class: "lw-study-table" }, element("thead", {}, element("tr", {}, headers)), body));
  return { element: element("div", {}, said, scroll, element("div", { class: "lw-study-pages" }, back, on, where)), draw, focus };
}

function studyHeader(column, sort) {
  const button = element("button", { text: column.title, attrs: { type: "button", title: column.help ?? null }, on: { click: () => sort(column.key) } });
  return element("th", { class: column.number ? "lw-study-number" : null, attrs: { scope: "col" } }, button);
}

function studyMarkSorted(header, key, sort) {
  const direction = sort === key ? "ascending" : sort === `-${key}` ? "descending" : null;
  if (direction) header.setAttribute("aria-sort", direction);
  else header.removeAttribute("aria-sort");
}

function studyTableRow(columns, data, row, chosen, open) {
  const opens = data.opens(row);
  const cells = columns.map((column, index) => {
    const shown = column.cell(row);
    if (index) return element("td", { class: column.number ? "lw-study-number" : null }, shown);
    // A button, so that the keyboard and screen readers reach what the mouse does anywhere on the row.
    const named = opens
      ? element("button", { attrs: { type: "button", "data-question": row } }, shown)
      : element("span", { attrs: { "data-question": row, title: "Its layers are not in this view." } }, shown);
    return element("th", { class: "lw-study-question", attrs: { scope: "row" } }, named);
  });
  const names = [row === chosen ? "lw-study-chosen" : null, opens ? "lw-study-opens" : null].filter(Boolean).join(" ");
  return element("tr", { class: names, attrs: { "aria-current": row === chosen ? "true" : null }, on: opens ? { click: () => open(row) } : {} }, cells);
}
