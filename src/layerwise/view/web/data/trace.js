// A trace as the view's components see it: values by layer and place, known or bounded.

/** One prompt's trace. A `place` is an index into `positions`. */
export class Trace {
  /** `read` is what `decodeTrace` makes of a document's trace. */
  constructor(read) {
    this.kind = "trace";
    this.label = String(read.label ?? "");
    this.model = read.model ?? {};
    this.lens = String(read.lens ?? "");
    this.edits = Array.from(read.edits ?? [], String);
    this.prompt = String(read.prompt ?? "");
    this.tokens = read.tokens;
    this.generated = read.generated ?? 0;
    this.positions = read.positions;
    this.nLayers = read.layers - 1;
    this.topK = read.topIds.shape[2];
    this.checks = read.checks ?? null;
    this.trust = read.trust ?? null;
    this.warnings = read.warnings ?? [];
    this.recipes = read.recipes ?? null;
    this.versions = read.versions ?? {};
    this.milestones = read.milestones ?? {};
    this.output = read.output ?? [];
    this.answer = read.answer;
    this.wrong = read.wrong;
    this.tracked = read.tracked;
    this.read = read;
    this.answerIds = new Set(read.answer ? read.answer.ids : []);
    this.trackedById = new Map(read.tracked.map((one) => [one.id, one]));
    this.leaderIndex = new Map();
    this.ranges = new Map();
  }

  depth(layer) {
    return layer / this.nLayers;
  }

  /** The place after the prompt's last token, where the answer was read; null where it was not kept. */
  get promptPlace() {
    const place = this.positions.indexOf(this.tokens.length - this.generated - 1);
    return place < 0 ? null : place;
  }

  /** The one token that is the answer, where it is one after the prompt itself; else null. */
  get answerToken() {
    if (!this.answer) return null;
    const { ids, deciding } = this.answer;
    return ids.length === 1 && deciding.index === 0 && ids[0] === deciding.id ? deciding.id : null;
  }

  textOf(id) {
    return this.read.texts.get(id) ?? this.trackedById.get(id)?.text ?? this.tokens.find((one) => one.id === id)?.text ?? `token ${id}`;
  }

  /** Ids of all tokens that have a text here. */
  knownIds() {
    return [...new Set([...this.trackedById.keys(), ...this.read.texts.keys()])];
  }

  cell(layer, place) {
    const at = (layer * this.positions.length + place) * this.topK;
    const id = this.read.topIds.data[at];
    const logprob = this.read.topLogprobs.data[at];
    return { id, text: this.textOf(id), prob: Math.exp(logprob), logprob, isAnswer: this.answerIds.has(id) };
  }

  top(layer, place) {
    const start = (layer * this.positions.length + place) * this.topK;
    const { topIds, topLogprobs } = this.read;
    return Array.from({ length: this.topK }, (_, rank) => {
      const id = topIds.data[start + rank];
      const logprob = topLogprobs.data[start + rank];
      return { id, text: this.textOf(id), prob: Math.exp(logprob), logprob, isAnswer: this.answerIds.has(id) };
    });
  }

  /** A token's probability: as it was read, or else bounded by the last of the cell's top list. */
  probOf(id, layer, place) {
    const width = this.positions.length;
    const known = (logprob) => ({ logprob, prob: Math.exp(logprob), bound: false });
    const tracked = this.trackedById.get(id);
    if (tracked) return known(tracked.logprobs.data[layer * width + place]);
    const leader = this.leaderAt(id, place);
    if (leader !== undefined) {
      const { ids, logprobs } = this.read.leaders[place];
      return known(logprobs.data[layer * ids.length + leader]);
    }
    if (id === this.answerToken && place === this.promptPlace && this.answer.texts.length === 1) {
      return known(Math.log(this.answer.prob[layer]));
    }
    const { topIds, topLogprobs } = this.read;
    const start = (layer * width + place) * this.topK;
    for (let at = start; at < start + this.topK; at += 1) if (topIds.data[at] === id) return known(topLogprobs.data[at]);
    return { ...known(topLogprobs.data[start + this.topK - 1]), bound: true };
  }

  leaderAt(id, place) {
    if (this.read.leaders === null) return undefined;
    if (!this.leaderIndex.has(place)) {
      this.leaderIndex.set(place, new Map(this.read.leaders[place].ids.map((one, index) => [one, index])));
    }
    return this.leaderIndex.get(place).get(id);
  }

  /** The tokens that lead at any layer of a place, in the order in which they first lead. */
  leaders(place) {
    if (this.read.leaders !== null) return this.read.leaders[place].ids;
    return [...new Set(Array.from({ length: this.nLayers + 1 }, (_, layer) => this.cell(layer, place).id))];
  }

  measure(name) {
    const array = Object.hasOwn(this.read.measures, name) ? this.read.measures[name].data : null;
    return array && ((layer, place) => array[layer * this.positions.length + place]);
  }

  /** `{value, bound}` of a colouring; null where there is none. A bound says "at most". */
  value(key, layer, place, tokenId) {
    if (key === "top") return { value: this.cell(layer, place).prob, bound: false };
    if (key === "answer") return this.answerValue(layer, place);
    if (key === "token") {
      if (tokenId === null || tokenId === undefined) return null;
      const { prob, bound } = this.probOf(tokenId, layer, place);
      return Number.isNaN(prob) ? null : { value: prob, bound };
    }
    const value = this.measure(key)?.(layer, place);
    return value === undefined || Number.isNaN(value) ? null : { value, bound: false };
  }

  /** after the prompt the answer's probability as it was read there; elsewhere that of its deciding tokens. */
  answerValue(layer, place) {
    if (!this.answer) return null;
    if (place === this.promptPlace) return { value: this.answer.prob[layer], bound: false };
    const ids = this.answer.ids.length ? this.answer.ids : [this.answer.deciding.id];
    const parts = ids.map((id) => this.probOf(id, layer, place));
    const value = parts.reduce((sum, part) => sum + part.prob, 0);
    return Number.isNaN(value) ? null : { value: Math.min(1, value), bound: parts.some((part) => part.bound) };
  }

  /** What the grid can be coloured by. */
  colourings() {
    const probable = { unit: "probability", low: 0, high: 1, diverging: false, perToken: false };
    const answer = this.answer ? [{ ...probable, key: "answer", title: "the answer’s probability" }] : [];
    const { measures: read, described = {} } = this.read;
    const measures = Object.keys({ ...described, ...read })
      .filter((key) => Object.hasOwn(read, key))
      .map((key) => ({ key, title: key, unit: "", ...described[key] }))
      .map((measure) => ({ ...measure, diverging: false, perToken: false, ...this.range(measure) }));
    return [
      { ...probable, key: "top", title: "the top token’s probability" },
      ...answer,
      { ...probable, key: "token", title: "a chosen token’s probability", perToken: true },
      ...measures,
    ];
  }

  range({ key, low, high }) {
    if (!this.ranges.has(key)) {
      let [least, most] = [Infinity, -Infinity];
      for (const value of this.read.measures[key].data) {
        if (value < least) least = value;
        if (value > most) most = value;
      }
      if (least > most) [least, most] = [0, 1];
      const bottom = low ?? Math.min(0, least);
      this.ranges.set(key, { low: bottom, high: high ?? (most > bottom ? most : bottom + 1) });
    }
    return this.ranges.get(key);
  }
}
