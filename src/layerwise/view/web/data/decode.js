// The document of docs/view-format.md, read and checked. What is wrong with it is said in one sentence.

import { Trace } from "./trace.js";

/** Why a document cannot be shown, in a sentence for its reader. */
export class ViewError extends Error {}

/** A document, given as JSON text or as the object in it: `{title, traces, study, raw}`; patch grids stay in `raw`. Throws ViewError. */
export function decodeDocument(json) {
  const raw = typeof json === "string" ? decodeJson(json) : json;
  if (raw === null || typeof raw !== "object") throw new ViewError("This is not a layerwise view: there is no document in it.");
  const format = /^layerwise view (\d+)$/.exec(String(raw.format));
  if (!format) throw new ViewError("This is not a layerwise view: its data do not begin with “layerwise view”.");
  if (Number(format[1]) > 1) {
    throw new ViewError(
      `This view was written by a newer layerwise (format ${format[1]}; this page reads format 1). ` +
        "Open it with that version, or write it again with this one.",
    );
  }
  const traces = decodeList(raw.traces ?? [], "traces").map((trace, index) => decodeTrace(trace, `Trace ${index + 1}`));
  const study = raw.study ?? null;
  return { title: String(raw.title ?? ""), traces, study, raw };
}

/** A `Trace` from its JSON object. `where` names it in messages. Throws ViewError. */
export function decodeTrace(raw, where = "The trace") {
  if (raw === null || typeof raw !== "object") throw new ViewError(`${where} is missing: the view was cut short.`);
  const layers = decodeCount(raw.n_layers, `${where}: n_layers`) + 1;
  const tokens = decodeList(raw.tokens, `${where}: tokens`).map(([id, text]) => ({ id, text: String(text) }));
  const positions = decodePositions(raw.positions, tokens.length, where);
  const grid = [layers, positions.length];
  const topIds = decodeArray(raw.top_ids, `${where}: top_ids`, [...grid, null]);
  if (topIds.shape[2] < 1) throw new ViewError(`${where} holds no top tokens: there is nothing to show.`);
  const read = {
    ...raw,
    tokens,
    positions,
    layers,
    texts: decodeTexts(raw.texts, where),
    topIds,
    topLogprobs: decodeArray(raw.top_logprobs, `${where}: top_logprobs`, topIds.shape),
    measures: decodeNamed(raw.measures ?? {}, (value, name) => decodeArray(value, `${where}: ${name}`, grid)),
    described: decodeNamed(raw.described ?? {}, decodeDescribed),
    leaders: decodeLeaders(raw.leaders ?? null, grid, where),
    tracked: decodeList(raw.tracked ?? [], `${where}: tracked`).map((one) => ({
      id: one.id,
      text: String(one.text),
      logprobs: decodeArray(one.logprobs, `${where}: tracked`, grid),
      ranks: decodeArray(one.ranks, `${where}: tracked`, grid),
    })),
    answer: decodeAnswer(raw.answer ?? null, layers, `${where}: answer`),
    wrong: decodeAnswer(raw.wrong ?? null, layers, `${where}: wrong answer`),
  };
  return new Trace(read);
}

/**
 * `{shape, data}` with a typed array as data. `shape` is what is expected, null where any length is right.
 * What has been decoded already is checked and returned. Throws ViewError.
 */
export function decodeArray(value, what, shape = null) {
  const types = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
  if (value === null || typeof value !== "object" || !Array.isArray(value.shape)) {
    throw new ViewError(`${what} is missing: the view is damaged or was cut short.`);
  }
  const fits = shape === null || (shape.length === value.shape.length && shape.every((n, i) => n === null || n === value.shape[i]));
  if (!fits) {
    throw new ViewError(
      `${what} has lengths ${value.shape.join(" × ")}, but ${shape.map((n) => n ?? "any").join(" × ")} belong to this view. ` +
        "It is damaged, or what wrote it was wrong: write it again.",
    );
  }
  const size = value.shape.reduce((product, n) => product * n, 1);
  if (value.data) return decodeSized({ shape: value.shape, data: value.data }, size, what);
  if (!Object.hasOwn(types, value.type)) throw new ViewError(`${what} has the unknown type ${String(value.type).slice(0, 40)}.`);
  const bytes = decodeBase64(value.base64, what);
  const width = types[value.type].BYTES_PER_ELEMENT;
  if (bytes.length % width) throw new ViewError(`${what} ends in the middle of a number: the view was cut short.`);
  return decodeSized({ shape: value.shape, data: new types[value.type](bytes.buffer) }, size, what);
}

function decodeJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ViewError("This view's data end too early or are damaged: the file was cut short. Write or copy it again.");
  }
}

function decodeSized(array, size, what) {
  if (array.data.length === size) return array;
  throw new ViewError(
    `${what} should hold ${array.shape.join(" × ")} numbers, but holds ${array.data.length}: the view is damaged or was cut short.`,
  );
}

function decodeBase64(text, what) {
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new ViewError(`${what} is not base64: the view is damaged or was cut short.`);
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function decodeList(value, what) {
  if (!Array.isArray(value)) throw new ViewError(`${what} is missing: the view is damaged or was cut short.`);
  return value;
}

function decodeCount(value, what) {
  if (!Number.isInteger(value) || value < 1) throw new ViewError(`${what} should be a whole number from 1 on.`);
  return value;
}

function decodePositions(value, nTokens, where) {
  const positions = decodeList(value, `${where}: positions`);
  const rising = positions.every((at, i) => Number.isInteger(at) && at >= 0 && at < nTokens && (i === 0 || at > positions[i - 1]));
  if (!positions.length || !rising) {
    throw new ViewError(`${where}: positions do not point at its ${nTokens} tokens in ascending order. The view is damaged.`);
  }
  return positions;
}

function decodeTexts(value, where) {
  const ids = decodeList(value?.ids, `${where}: texts`);
  const texts = decodeList(value?.texts, `${where}: texts`);
  if (ids.length !== texts.length) {
    throw new ViewError(`${where}: ${ids.length} token ids have ${texts.length} texts. The view is damaged.`);
  }
  return new Map(ids.map((id, i) => [id, String(texts[i])]));
}

function decodeNamed(named, read) {
  return Object.fromEntries(Object.entries(named).map(([name, value]) => [name, read(value, name)]));
}

/** What a measure is called, and the ends of its scale; without them it reaches as far as its values. */
function decodeDescribed(value, name) {
  const [low, high] = Array.isArray(value?.scale) ? value.scale.map(Number) : [];
  return { title: String(value?.title ?? name), unit: String(value?.unit ?? ""), low, high };
}

function decodeLeaders(value, [layers, places], where) {
  if (value === null) return null;
  const all = decodeList(value, `${where}: leaders`);
  if (all.length !== places) {
    throw new ViewError(`${where}: leaders are given for ${all.length} positions of ${places}. The view is damaged.`);
  }
  return all.map(({ ids, logprobs }) => ({
    ids,
    logprobs: decodeArray(logprobs, `${where}: leaders`, [layers, ids.length]),
  }));
}

function decodeAnswer(value, layers, what) {
  if (value === null) return null;
  const curves = ["prob", "rank", "logprob", "margin", "first_token_prob", "first_token_rank"];
  const present = curves.filter((name) => name === "prob" || name === "rank" || value[name]);
  const read = Object.fromEntries(present.map((name) => [name, decodeArray(value[name], `${what}, ${name}`, [layers]).data]));
  return { ...value, ...read, texts: decodeList(value.texts, what), ids: decodeList(value.ids, what) };
}
