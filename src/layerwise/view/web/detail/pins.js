// Pinned tokens: which they are without a choice, how they are told apart, and their probabilities over the layers.

import { variantKey } from "../shared/text.js";

/** The pin of an answer that is more than one token after the prompt: no vocabulary has this id. */
export function answerPin() {
  return 2 ** 31 - 1;
}

/** How many tokens are pinned without a choice, the answer not counted. */
export function defaultPinCount() {
  return 8;
}

/** The tokens that lead at any layer of a place, of more than eight those that lead longest, and the answer. */
export function defaultPins(trace, place) {
  let leaders = [...trace.leaders(place)];
  if (leaders.length > defaultPinCount()) {
    const layers = new Map();
    const count = (id) => layers.set(id, (layers.get(id) ?? 0) + 1);
    for (let layer = 0; layer <= trace.nLayers; layer++) {
      const cell = trace.cell(layer, place);
      count(cell.id);
      if (cell.otherId !== undefined) count(cell.otherId);
    }
    const longest = leaders.toSorted((a, b) => (layers.get(b) ?? 0) - (layers.get(a) ?? 0)).slice(0, defaultPinCount());
    leaders = leaders.filter((id) => longest.includes(id));
  }
  const answer = pinOfAnswer(trace, place);
  return answer === null ? leaders : [answer, ...leaders.filter((id) => id !== answer)];
}

/** The pins now shown: those chosen, else the default ones. */
export function shownPins(trace, state, place) {
  if (state.pins === null) return defaultPins(trace, place);
  const known = new Set([...trace.knownIds(), pinOfAnswer(trace, place)]);
  return [...new Set(state.pins)].filter((id) => known.has(id));
}

/** The pins after `id` has been pinned, or unpinned where it was. */
export function pinsToggled(trace, state, place, id) {
  const pins = shownPins(trace, state, place);
  return pins.includes(id) ? pins.filter((one) => one !== id) : [...pins, id];
}

/** The pin that stands for the answer at a place: its token, or `answerPin()` where it is not one token's. */
export function pinOfAnswer(trace, place) {
  if (!trace.answer || trace.value("answer", 0, place, null) === null) return null;
  if (trace.kind !== "difference") return trace.answerToken ?? answerPin();
  const [mine, other] = trace.sides.map((side) => side.answerToken);
  return mine !== null && other !== null && mine === trace.ids.fromSecond(other) ? mine : answerPin();
}

/**
 * What is drawn: `[{id, ids, texts, isAnswer, sides: [[{low, high}, …by layer], …]}]`.
 *
 * `sides` has one list for a trace and two for a difference. `low` equals `high` where the probability was read;
 * a bounded one lies between them. With `variants`, pins that are spelled alike are one, and the probabilities of
 * all known tokens so spelled are added up.
 */
export function pinnedSeries(trace, place, pins, variants) {
  const answer = pinOfAnswer(trace, place);
  const told = variants ? pinGroups(trace, place, pins) : pins.map((id) => ({ id, ids: [id] }));
  return told.map(({ id, ids }) => ({
    id,
    ids,
    texts: id === answerPin() ? pinAnswerTexts(trace) : ids.map((one) => trace.textOf(one)),
    isAnswer: ids.includes(answer),
    sides: pinReaders(trace, place).map((read) => {
      const layers = Array.from({ length: trace.nLayers + 1 }, (_, layer) => layer);
      return layers.map((layer) => pinSum(ids.map((one) => read(one, layer))));
    }),
  }));
}

/** A number for each pin, the same as long as it is pinned: what its colour, dashes and marker go by. */
export function createPinSlots() {
  let slots = new Map();
  return (ids) => {
    const kept = new Map(ids.filter((id) => slots.has(id)).map((id) => [id, slots.get(id)]));
    const taken = new Set(kept.values());
    let free = 0;
    for (const id of ids) {
      if (kept.has(id)) continue;
      while (taken.has(free)) free += 1;
      taken.add(free);
      kept.set(id, free);
    }
    slots = kept;
    return slots;
  };
}

// For every side, what reads {low, high} of a pin at a layer.
function pinReaders(trace, place) {
  const range = (found) => (found === null ? null : { low: found.bound ? 0 : found.value, high: found.value });
  const asValue = ({ prob, bound }) => range(Number.isNaN(prob) ? null : { value: prob, bound });
  if (trace.kind !== "difference") {
    return [
      (id, layer) =>
        id === answerPin() ? range(trace.value("answer", layer, place, null)) : asValue(trace.probOf(id, layer, place)),
    ];
  }
  return [0, 1].map((side) => (id, layer) => {
    if (id === answerPin()) return range(trace.values("answer", layer, place, null)[side]);
    return asValue(side ? trace.probOfOther(id, layer, place) : trace.probOf(id, layer, place));
  });
}

function pinSum(parts) {
  const known = parts.filter((part) => part !== null);
  if (!known.length) return null;
  const add = (name) =>
    Math.min(
      1,
      known.reduce((sum, part) => sum + part[name], 0),
    );
  return { low: add("low"), high: add("high") };
}

// Pins under one spelling, each with all tokens so spelled that the place's numbers name.
function pinGroups(trace, place, pins) {
  const groups = new Map();
  for (const id of pins) {
    const key = id === answerPin() ? id : variantKey(trace.textOf(id));
    if (!groups.has(key)) groups.set(key, { id, ids: [id] });
  }
  for (const id of pinCandidates(trace, place)) {
    const group = groups.get(variantKey(trace.textOf(id)));
    if (group && !group.ids.includes(id)) group.ids.push(id);
  }
  return [...groups.values()];
}

function pinCandidates(trace, place) {
  const ids = new Set([...trace.leaders(place), ...trace.tracked.map((one) => one.id)]);
  for (let layer = 0; layer <= trace.nLayers; layer++) {
    for (const token of trace.top(layer, place)) ids.add(token.id);
    if (trace.kind === "difference") for (const token of trace.topOther(layer, place)) ids.add(token.id);
  }
  return ids;
}

function pinAnswerTexts(trace) {
  const sides = trace.kind === "difference" ? trace.sides : [trace];
  return [...new Set(sides.flatMap((side) => side.answer.texts))];
}
