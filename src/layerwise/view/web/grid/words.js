// What the grid shows, in words: the headline, and the focused cell for those who listen.

import { probability, quantity, quoted, visible } from "../shared/text.js";

/** The focused cell in a sentence. */
export function cellWords(context, layer, place) {
  const trace = context.trace();
  const { key, title, unit } = context.colouring();
  const position = trace.positions[place];
  const cell = trace.cell(layer, place);
  const found = key === "top" ? null : trace.value(key, layer, place, context.state.get().token);
  const leads =
    trace.kind === "difference" && !cell.same
      ? `${wordsSpoken(cell.text)} in the first, ${wordsSpoken(cell.otherText)} in the second`
      : `${wordsSpoken(cell.text)} leads with ${probability(cell.prob)}`;
  const parts = [
    `Layer ${layer} of ${trace.nLayers}, after ${wordsSpoken(trace.tokens[position].text)}, position ${position}: ${leads}`,
    wordsAnswer(trace, cell),
    found ? `${title} ${valueWords(found, unit)}` : null,
  ];
  return `${parts.filter(Boolean).join("; ")}.`;
}

function wordsAnswer(trace, cell) {
  if (trace.kind !== "difference" || (cell.isAnswer && cell.otherIsAnswer)) return cell.isAnswer ? "the answer" : null;
  if (cell.isAnswer) return "the first's answer";
  return cell.otherIsAnswer ? "the second's answer" : null;
}

/** A colouring's value, with what is known of it where it is only bounded. */
export function valueWords(found, unit) {
  if (!found.bound) return quantity(found.value, unit);
  if (found.low !== undefined) return `between ${quantity(found.low, unit)} and ${quantity(found.high, unit)}`;
  return `at most ${quantity(found.value, unit)}`;
}

/** One sentence or two that say what a trace shows; computed from its numbers alone. */
export function headline(trace) {
  if (trace.kind === "difference") return headlineDifference(trace);
  const place = trace.promptPlace;
  if (place === null) return "";
  const output = headlineOutput(trace, place);
  return trace.answer ? `${headlineAnswer(trace, place)} ${output}` : headlineOutputForms(trace, place);
}

/** Layers from which `holds(layer)` is true for the first time, and to the end. null: never. */
export function headlineSpan(nLayers, holds) {
  let [first, settled] = [null, null];
  for (let layer = 0; layer <= nLayers; layer += 1) {
    if (!holds(layer)) settled = null;
    else {
      first ??= layer;
      settled ??= layer;
    }
  }
  return { first, settled };
}

function headlineAnswer(trace, place) {
  const { answer, nLayers } = trace;
  const deciding = answer.deciding ?? { index: 0 };
  const said = quoted(answer.texts[0]) + (answer.texts.length > 1 ? " (or an alias)" : "");
  const part = deciding.index > 0 ? `${said}, told apart by its token ${quoted(deciding.text)},` : said;
  const { first, settled } = headlineSpan(nLayers, (layer) => answer.rank[layer] === 1);
  if (first === null) {
    const best = answer.rank.reduce((at, rank, layer) => (rank < answer.rank[at] ? layer : at), 0);
    return `${part} never leads; it comes closest at layer ${best} of ${nLayers}, with rank ${answer.rank[best]} and ${probability(answer.prob[best])}.`;
  }
  const before = first > 0 && deciding.index === 0 ? trace.cell(first - 1, place) : null;
  const instead = before && !before.isAnswer ? `, replacing ${quoted(before.text)}` : "";
  if (first === nLayers) return `${part} leads at the last layer only, ${first} of ${nLayers}${instead}.`;
  const led = `${part} first leads at layer ${first} of ${nLayers}${instead}`;
  if (settled === first) return `${led}, and stays in front to the end.`;
  if (settled !== null) return `${led}; it stays in front from layer ${settled} on.`;
  const last = nLayers - [...answer.rank].reverse().indexOf(1);
  return `${led}; it is last in front at layer ${last}, and not at the output.`;
}

function headlineOutput(trace, place) {
  const best = headlineBest(trace, place);
  return `Output: ${quoted(best.text)} ${probability(best.prob)}.`;
}

function headlineOutputForms(trace, place) {
  const best = headlineBest(trace, place);
  const { settled, first } = headlineSpan(trace.nLayers, (layer) => trace.cell(layer, place).id === best.id);
  const output = `The output is ${quoted(best.text)}, with ${probability(best.prob)}`;
  if (settled === null) return `${output}.`;
  const before = settled > 0 ? `, replacing ${quoted(trace.cell(settled - 1, place).text)}` : "";
  const earlier = first < settled ? ` It led for the first time at layer ${first}.` : "";
  return `${output}: it leads from layer ${settled} of ${trace.nLayers} on${before}.${earlier}`;
}

/** The model's own likeliest next token; where it was not stored, what the lens reads at the last layer. */
function headlineBest(trace, place) {
  return trace.output[0] ?? trace.cell(trace.nLayers, place);
}

function headlineDifference(trace) {
  const [layers, places] = [trace.nLayers + 1, trace.positions.length];
  let same = 0;
  for (let layer = 0; layer < layers; layer += 1) for (let place = 0; place < places; place += 1) same += trace.cell(layer, place).same ? 1 : 0;
  const { settled } = headlineSpan(trace.nLayers, (layer) => trace.cell(layer, places - 1).same);
  const agreed = `The same token leads in ${same} of ${layers * places} cells.`;
  if (settled === null) return `${agreed} At the last position the two end differently.`;
  if (settled === 0) return `${agreed} At the last position it does at every layer.`;
  return `${agreed} At the last position the two agree from layer ${settled} of ${trace.nLayers} on.`;
}

function wordsSpoken(text) {
  const shown = visible(String(text).slice(0, 200)).replaceAll("␣", " ").trim();
  return `“${shown === "" ? "space" : shown}”`;
}
