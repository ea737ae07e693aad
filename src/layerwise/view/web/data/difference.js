// The difference between two traces, offered like a trace: the second's numbers minus the first's.

import { alignPlaces } from "./align.js";
import { ViewError } from "./decode.js";
import { oneLine, shortened } from "../shared/text.js";
import { CommonIds } from "./vocabularies.js";

/** What changes from `first` to `second`: a `TraceDifference`. Throws ViewError where nothing can be compared. */
export function differenceOf(first, second) {
  const columns = alignPlaces(first, second);
  if (columns.length) return new TraceDifference(first, second, columns);
  throw new ViewError("These two traces cannot be compared: nothing was read after tokens that they have in common.");
}

/**
 * Two traces side by side, with what a trace offers. Layers and token ids are the first's; a token that only the
 * second knows, of another vocabulary, has an id beyond all vocabularies.
 */
export class TraceDifference {
  /** `columns` are the `[{first, second, same}]` of `alignPlaces`. */
  constructor(first, second, columns) {
    const both = (one, other) => (one === other ? one : `${one} → ${other}`);
    this.kind = "difference";
    this.sides = [first, second];
    this.columns = columns;
    this.ids = new CommonIds(first, second);
    this.label = `${first.label} → ${second.label}`;
    this.model = { ...first.model, name: both(first.model.name, second.model.name) };
    this.lens = both(first.lens, second.lens);
    this.prompt = both(first.prompt, second.prompt);
    this.positions = columns.map((column) => first.positions[column.first]);
    this.tokens = first.tokens.slice();
    for (const { first: one, second: other } of columns) {
      const token = first.tokens[first.positions[one]];
      const text = second.tokens[second.positions[other]].text;
      if (text !== token.text) this.tokens[first.positions[one]] = { ...token, text: `${token.text}→${text}` };
    }
    this.generated = first.generated;
    this.nLayers = first.nLayers;
    this.topK = Math.min(first.topK, second.topK);
    this.checks = null;
    this.trust = differenceTrust(first, second);
    this.notes = differenceNotes(first, second, columns);
    this.warnings = differenceWarnings(first, second);
    this.recipes = differenceRecipes(first, second);
    this.versions = first.versions;
    this.answer = first.answer && second.answer ? first.answer : null;
    this.wrong = first.wrong && second.wrong ? first.wrong : null;
    this.tracked = first.tracked;
    this.milestones = first.milestones;
    this.output = first.output;
    this.reaches = new Map();
  }

  depth(layer) {
    return layer / this.nLayers;
  }

  /** The place after both prompts; null where their ends are not compared. */
  get promptPlace() {
    const [first, second] = this.sides.map((side) => side.promptPlace);
    const place = this.columns.findIndex((column) => column.first === first && column.second === second);
    return place < 0 ? null : place;
  }

  /** The second's layer that belongs to one of the first's: the same number, or the nearest depth. */
  otherLayer(layer) {
    const [n, m] = this.sides.map((side) => side.nLayers);
    return n === m ? layer : Math.round((layer / n) * m);
  }

  textOf(id) {
    return this.ids.textOf(id);
  }

  knownIds() {
    return [
      ...new Set([...this.sides[0].knownIds(), ...this.sides[1].knownIds().map((id) => this.ids.fromSecond(id))]),
    ];
  }

  cell(layer, place) {
    const [mine, other] = [this.sides[0].cell(layer, this.columns[place].first), this.otherCell(layer, place)];
    return {
      ...mine,
      otherId: this.ids.fromSecond(other.id),
      otherText: other.text,
      otherProb: other.prob,
      otherLogprob: other.logprob,
      otherIsAnswer: other.isAnswer,
      same: mine.text === other.text,
    };
  }

  otherCell(layer, place) {
    return this.sides[1].cell(this.otherLayer(layer), this.columns[place].second);
  }

  top(layer, place) {
    return this.sides[0].top(layer, this.columns[place].first);
  }

  topOther(layer, place) {
    const top = this.sides[1].top(this.otherLayer(layer), this.columns[place].second);
    return top.map((token) => ({ ...token, id: this.ids.fromSecond(token.id) }));
  }

  /** As a trace's, of the first; `probOfOther` of the second. A token beyond a vocabulary is only bounded there. */
  probOf(id, layer, place) {
    return this.sides[0].probOf(id, layer, this.columns[place].first);
  }

  probOfOther(id, layer, place) {
    return this.sides[1].probOf(this.ids.toSecond(id), this.otherLayer(layer), this.columns[place].second);
  }

  leaders(place) {
    const { first, second } = this.columns[place];
    const others = this.sides[1].leaders(second).map((id) => this.ids.fromSecond(id));
    return [...new Set([...this.sides[0].leaders(first), ...others])];
  }

  /** The two sides' `{value, bound}` of a colouring, null where a side has none. */
  values(key, layer, place, tokenId) {
    const { first, second } = this.columns[place];
    const other = tokenId === null || tokenId === undefined ? tokenId : this.ids.toSecond(tokenId);
    return [
      this.sides[0].value(key, layer, first, tokenId),
      this.sides[1].value(key, this.otherLayer(layer), second, other),
    ];
  }

  /**
   * The second's value minus the first's, between `low` and `high`. Where these differ, because a side is only
   * bounded, `bound` is true and the value the one nearest to zero: at least so much has changed.
   */
  value(key, layer, place, tokenId) {
    const [one, other] = this.values(key, layer, place, tokenId);
    if (one === null || other === null) return null;
    const low = (other.bound ? 0 : other.value) - one.value;
    const high = other.value - (one.bound ? 0 : one.value);
    return { value: low > 0 ? low : Math.min(high, 0), bound: one.bound || other.bound, low, high };
  }

  measure(name) {
    const [one, other] = this.sides.map((side) => side.measure(name));
    if (!one || !other) return null;
    return (layer, place) => {
      const { first, second } = this.columns[place];
      return other(this.otherLayer(layer), second) - one(layer, first);
    };
  }

  /** The colourings that both have, around zero and as wide as the largest difference. */
  colourings() {
    const others = new Set(this.sides[1].colourings().map(({ key }) => key));
    return this.sides[0]
      .colourings()
      .filter(({ key }) => others.has(key))
      .map((one) => {
        const reach = () => (one.perToken ? 1 : this.reach(one.key));
        return {
          ...one,
          title: `change in ${one.title}`,
          diverging: true,
          // Asked for one colouring at a time: each takes all cells.
          get low() {
            return -reach();
          },
          get high() {
            return reach();
          },
        };
      });
  }

  reach(key) {
    if (!this.reaches.has(key)) {
      let most = 0;
      for (let layer = 0; layer <= this.nLayers; layer++) {
        for (let place = 0; place < this.columns.length; place++) {
          const size = Math.abs(this.value(key, layer, place, null)?.value ?? 0);
          if (size > most && Number.isFinite(size)) most = size;
        }
      }
      this.reaches.set(key, most || 1);
    }
    return this.reaches.get(key);
  }
}

function differenceTrust(first, second) {
  if (!first.trust || !second.trust) return null;
  const sides = [first, second].map((side, index) => ({ ...side.trust, name: index ? "second" : "first" }));
  return {
    level: sides.every((trust) => trust.level === "good") ? "good" : "stated",
    sentences: sides.flatMap((trust) => trust.sentences.map((sentence) => `The ${trust.name}: ${sentence}`)),
  };
}

function differenceWarnings(first, second) {
  const told = new Set([first, second].flatMap((side) => side.warnings));
  const named = (side, name) => side.warnings.map((sentence) => `The ${name}: ${sentence}`);
  const alike = first.warnings.length === told.size && second.warnings.length === told.size;
  return alike ? [...told] : [...named(first, "first"), ...named(second, "second")];
}

// What a reader must know of how the two were matched.
function differenceNotes(first, second, columns) {
  const notes = [];
  if (first.nLayers !== second.nLayers) {
    notes.push(`Layers are matched by depth: the first has ${first.nLayers}, the second ${second.nLayers}.`);
  }
  const replaced = columns.filter((column) => !column.same).length;
  const left = [first, second].map((side) => side.positions.length - columns.length);
  if (replaced)
    notes.push(`${replaced === 1 ? "One position compares" : `${replaced} positions compare`} two different tokens.`);
  if (left[0] + left[1])
    notes.push(`Left out, since nothing corresponds: ${left[0]} ${left[0] === 1 ? "position" : "positions"} of the first, ${left[1]} of the second.`);
  return notes;
}

function differenceRecipes(first, second) {
  if (!first.recipes || !second.recipes) return null;
  const joined = (name) => {
    if (!first.recipes[name] || !second.recipes[name]) return null;
    const told = (side) => `# ${shortened(oneLine(side.label), 100)}\n${side.recipes[name]}`;
    return `${told(first)}\n\n${told(second)}`;
  };
  return { python: joined("python"), cli: joined("cli") };
}
