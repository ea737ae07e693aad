// Which token ids of two traces mean the same token.

/**
 * Token ids of two traces as one set of ids: the first's, and beyond all vocabularies those of tokens that only the
 * second knows.
 *
 * Two traces are of one vocabulary if they name many ids in common, all with the same texts. Elsewhere a token is
 * found by its text.
 */
export class CommonIds {
  constructor(first, second) {
    const texts = [first, second].map((side) => new Map(side.knownIds().map((id) => [id, side.textOf(id)])));
    const byText = texts.map((known) => new Map([...known].map(([id, text]) => [text, id])));
    const common = [...texts[0].keys()].filter((id) => texts[1].has(id));
    // A few ids, of punctuation, are alike in many vocabularies.
    const shared = common.length >= 20 && common.every((id) => texts[0].get(id) === texts[1].get(id));
    const found = (id, text, side) => (shared || texts[side].get(id) === text ? id : byText[side].get(text));
    this.sides = [first, second];
    this.shared = shared;
    this.beyond = 2 ** 31;
    this.named = texts[0];
    this.inFirst = new Map([...texts[1]].map(([id, text]) => [id, found(id, text, 0) ?? this.beyond + id]));
    this.inSecond = new Map([...texts[0]].map(([id, text]) => [id, found(id, text, 1) ?? this.beyond + id]));
  }

  /** The common id of one of the second's. */
  fromSecond(id) {
    return this.inFirst.get(id) ?? (this.shared ? id : this.beyond + id);
  }

  /** The second's id of a common one; where the second does not know it, an id that nothing there has. */
  toSecond(id) {
    if (id >= this.beyond) return id - this.beyond;
    return this.inSecond.get(id) ?? (this.shared ? id : this.beyond + id);
  }

  /** A common id's text. */
  textOf(id) {
    const [first, second] = this.sides;
    if (id >= this.beyond) return second.textOf(id - this.beyond);
    return this.shared && !this.named.has(id) ? second.textOf(id) : first.textOf(id);
  }
}
