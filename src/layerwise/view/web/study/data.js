// A document's study, read and checked; and one of its questions as a trace.

import { decodeArray, ViewError } from "../data/decode.js";

const studyRead = new WeakMap();

/** A study of docs/view-format.md as `StudyData`, made once. Throws ViewError. */
export function studyData(raw) {
  if (!studyRead.has(raw)) studyRead.set(raw, new StudyData(raw));
  return studyRead.get(raw);
}

/**
 * One question as a trace of the format: one position, after its prompt. Null where the study lacks its layers.
 * Throws ViewError where they are damaged.
 */
export function traceOfQuestion(study, row) {
  return studyData(study).trace(row);
}

/** What the milestones are called, in the order in which a reader meets them. */
export function studyMilestones() {
  return [
    { key: "settled_top1", title: "the answer settles", short: "settles", help: "from here to the output the answer’s deciding token has rank 1" },
    { key: "first_top1", title: "the answer leads first", short: "leads first", help: "the answer’s deciding token has rank 1 for the first time" },
    { key: "first_p50", title: "the answer passes 50 %", short: "> 50 %", help: "the answer’s deciding token has more than half of the probability for the first time" },
    { key: "first_p95", title: "the answer passes 95 %", short: "> 95 %", help: "the answer’s deciding token has more than 95 % of the probability for the first time" },
    { key: "settled_kl_1bit", title: "within one bit of the output", short: "≤ 1 bit", help: "from here on KL(output ‖ layer) stays within one bit" },
    { key: "half_entropy", title: "entropy has halved", short: "half entropy", help: "from here on the entropy stays at or below half of layer 1’s" },
    { key: "copy", title: "the prompt is copied", short: "copies", help: "a token of the prompt leads with more than 95 %" },
  ];
}

/** A study's questions as rows, its cells, and the layers of its questions. */
export class StudyData {
  constructor(raw) {
    this.raw = raw;
    this.models = studyList(raw.models, "models");
    this.cells = studyList(raw.cells ?? [], "cells");
    this.claims = studyList(raw.claims ?? [], "claims");
    this.curves = studyList(raw.curves ?? [], "curves");
    this.details = studyList(raw.details ?? [], "details");
    this.columns = raw.questions ?? {};
    this.count = studyList(this.columns.id, "questions").length;
    for (const [name, values] of Object.entries(this.columns)) {
      if (studyList(values, name).length !== this.count) {
        throw new ViewError(`The study has ${this.count} questions, but ${values.length} entries in “${name}”. The view is damaged or was cut short.`);
      }
    }
    if (this.columns.model?.some((index) => !Object.hasOwn(this.models, index))) {
      throw new ViewError("A question of the study belongs to a model that the view does not name. The view is damaged.");
    }
    this.sets = [...new Set(this.columns.set)];
    this.rows = Array.from({ length: this.count }, (_, row) => row);
    this.milestones = studyMilestones().filter(({ key }) => Object.hasOwn(this.columns, key));
    this.places = new Map();
    this.details.forEach((detail, at) => {
      studyList(detail.rows, "rows").forEach((row, place) => this.places.set(row, { at, place }));
    });
    this.arrays = new Map();
    // Read at once: the table says what every model answers, and a study that is damaged says so before that.
    this.details.forEach((_, at) => this.array(at, "top_ids", (detail) => detail.top_ids));
  }

  value(row, column) {
    return this.columns[column]?.[row] ?? null;
  }

  model(row) {
    return this.models[this.columns.model[row]];
  }

  nLayers(row) {
    return this.details[this.columns.model[row]]?.n_layers ?? null;
  }

  /** Whether a question's layers are in the view, so that it can be opened. */
  opens(row) {
    return this.places.has(row);
  }

  /** A milestone's depth, or null for never. */
  depth(row, milestone) {
    const layer = this.value(row, milestone);
    return layer === null || !this.nLayers(row) ? null : layer / this.nLayers(row);
  }

  /** The text of the token that leads at the last layer, or null where the layers are not in the view. */
  says(row) {
    const found = this.places.get(row);
    if (!found) return null;
    const { data, shape } = this.array(found.at, "top_ids", (detail) => detail.top_ids);
    const id = data[((found.place + 1) * shape[1] - 1) * shape[2]];
    return this.text(found.at, id);
  }

  text(at, id) {
    const key = `${at} texts`;
    if (!this.arrays.has(key)) {
      const { ids, texts } = this.details[at].texts;
      this.arrays.set(key, new Map(ids.map((one, index) => [one, String(texts[index])])));
    }
    return this.arrays.get(key).get(id) ?? `token ${id}`;
  }

  array(at, name, part) {
    const key = `${at} ${name}`;
    if (!this.arrays.has(key)) {
      const detail = this.details[at];
      const rank = name.startsWith("top_") ? [null] : [];
      const shape = [detail.rows.length, detail.n_layers + 1, ...rank];
      this.arrays.set(key, decodeArray(part(detail), `${this.models[at]}: ${name}`, shape));
    }
    return this.arrays.get(key);
  }

  trace(row) {
    const found = this.places.get(row);
    if (!found) return null;
    const { at, place } = found;
    const detail = this.details[at];
    const layers = detail.n_layers + 1;
    const slice = (name, part, shape) => {
      const whole = this.array(at, name, part);
      const size = whole.data.length / whole.shape[0];
      return { shape, data: whole.data.slice(place * size, (place + 1) * size) };
    };
    const ranks = this.array(at, "top_ids", (each) => each.top_ids).shape[2];
    const top = slice("top_ids", (each) => each.top_ids, [layers, 1, ranks]);
    const logprobs = slice("top_logprobs", (each) => each.top_logprobs, [layers, 1, ranks]);
    const tokens = detail.tokens[place].map((id) => [id, this.text(at, id)]);
    const ids = [...new Set([...top.data, ...detail.tokens[place]])];
    const named = (measure) => [measure, slice(measure, (each) => each.measures[measure], [layers, 1])];
    const last = Array.from({ length: ranks }, (_, rank) => (layers - 1) * ranks + rank);
    return {
      label: `${this.models[at]} · ${this.raw.lens} · ${this.value(row, "id")}`,
      model: detail.model,
      lens: this.raw.lens,
      prompt: this.value(row, "prompt"),
      tokens,
      generated: 0,
      positions: [tokens.length - 1],
      n_layers: detail.n_layers,
      texts: { ids, texts: ids.map((id) => this.text(at, id)) },
      top_ids: top,
      top_logprobs: logprobs,
      measures: Object.fromEntries(Object.keys(detail.measures).map(named)),
      described: detail.described,
      leaders: null,
      tracked: [],
      answer: this.answer(row, found, slice),
      wrong: null,
      milestones: Object.fromEntries(this.milestones.map(({ key }) => [key, this.value(row, key)])),
      output:
        this.raw.ends_at_output
          ? last.map((i) => ({ id: top.data[i], text: this.text(at, top.data[i]), prob: Math.exp(logprobs.data[i]) }))
          : [],
      checks: detail.checks ?? null,
      trust: detail.trust ?? null,
      warnings: [],
      notes: this.raw.notes ?? [],
      recipes: null,
      versions: {},
    };
  }

  answer(row, { at, place }, slice) {
    const { answer, n_layers: n } = this.details[at];
    if (!answer.deciding[place]) return null;
    const curves = ["prob", "rank", "logprob", "margin", "first_token_prob", "first_token_rank"];
    const curve = (name) =>
      Object.hasOwn(answer, name)
        ? slice(`answer ${name}`, (each) => each.answer[name], [n + 1])
        : { shape: [n + 1], data: new Float32Array(n + 1).fill(NaN) };
    return {
      texts: answer.texts[place],
      ids: answer.ids[place],
      known: this.value(row, "known"),
      deciding: answer.deciding[place],
      ...Object.fromEntries(curves.map((name) => [name, curve(name)])),
    };
  }
}

/** What a set is called; the study's own questions are in none. */
export function studySetName(set) {
  return set === "" ? "the study’s own questions" : set;
}

function studyList(value, what) {
  if (!Array.isArray(value)) throw new ViewError(`The study’s ${what} are missing: the view is damaged or was cut short.`);
  return value;
}
