// The chosen window as a table in which no spreadsheet finds a formula.

import { gridGeometry } from "../grid/geometry.js";

/** One row per layer and position that is shown, layer 0 first. A probability that was not read has only its limits. */
export function gridCsv(trace, state) {
  const { layers, from, columns } = gridGeometry(trace, state, 0);
  const described = csvColumns(trace, state);
  const rows = [described.map(([name]) => name)];
  for (const layer of layers.toReversed()) {
    for (let place = from; place < from + columns; place++) {
      const cell = trace.cell(layer, place);
      rows.push(described.map(([, read]) => read(layer, place, cell)));
    }
  }
  return rows.map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n";
}

/** A number as it is; text in quotes where it needs them, and after an apostrophe where it would be a formula. */
export function csvField(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (typeof value === "number") return String(value);
  const text = /^(?:[\t\r\n]|[\s\p{Cc}\p{Cf}]*[=+\-@＝＋－＠])/u.test(value) ? `'${value}` : value;
  return /[",;\r\n\t]|^\s|\s$/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// [name, (layer, place, cell) → what stands there]
function csvColumns(trace, state) {
  const token = (place) => trace.tokens[trace.positions[place]].text;
  const other =
    trace.kind === "difference"
      ? [
          ["second_layer", (layer) => trace.otherLayer(layer)],
          ["second_top_token", (layer, place, cell) => cell.otherText],
          ["second_top_prob", (layer, place, cell) => cell.otherProb],
        ]
      : [];
  return [
    ["layer", (layer) => layer],
    ["depth", (layer) => trace.depth(layer)],
    ["position", (layer, place) => trace.positions[place]],
    ["token", (layer, place) => token(place)],
    ["top_token_id", (layer, place, cell) => cell.id],
    ["top_token", (layer, place, cell) => cell.text],
    ["top_prob", (layer, place, cell) => cell.prob],
    ...other,
    ...trace.colourings().flatMap((colouring) => csvColouring(trace, state, colouring)),
  ];
}

function csvColouring(trace, state, { key, perToken, unit }) {
  const changed = trace.kind === "difference";
  if ((key === "top" && !changed) || (perToken && state.token === null)) return [];
  const name = `${changed ? "change_in_" : ""}${["top", "answer", "token"].includes(key) ? `${key}_prob` : key}`;
  const read = (layer, place) => trace.value(key, layer, place, state.token);
  const limits = (found) => (changed ? found : { low: found.bound ? 0 : found.value, high: found.value });
  const value = [name, (layer, place) => csvKnown(read(layer, place))];
  if (unit !== "probability" || !["answer", "token"].includes(key)) return [value];
  const chosen = perToken ? [["chosen_token", () => trace.textOf(state.token)]] : [];
  return [
    ...chosen,
    value,
    ...["low", "high"].map((end) => [
      `${name}_${end}`,
      (layer, place) => {
        const found = read(layer, place);
        return found === null ? null : limits(found)[end];
      },
    ]),
  ];
}

function csvKnown(found) {
  return found === null || found.bound ? null : found.value;
}
