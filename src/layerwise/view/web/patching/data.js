// Patch grids of a document, read and checked: what each cell says, and what its colours mean.

import { decodeArray, ViewError } from "../data/decode.js";

/** The grids of one pair of prompts, from its JSON object. `where` names it in messages. Throws ViewError. */
export function decodePatching(raw, where) {
  if (raw === null || typeof raw !== "object" || !Array.isArray(raw.grids) || !raw.grids.length) {
    throw new ViewError(`${where} hold no grid: the view is damaged or was cut short.`);
  }
  const tokens = (list) => patchingList(list, `${where}: tokens`).map(([id, text]) => ({ id, text: String(text) }));
  const [clean, corrupted] = [tokens(raw.clean), tokens(raw.corrupted)];
  const patched = raw.direction === "denoise" ? corrupted : clean;
  const pairs = patchingList(raw.alignment?.pairs, `${where}: alignment`);
  if (pairs.some(([one, other]) => !(one in clean) || !(other in corrupted))) {
    throw new ViewError(`${where}: the alignment points at tokens that are not there. The view is damaged.`);
  }
  return {
    ...raw,
    label: String(raw.label ?? ""),
    clean,
    corrupted,
    patched,
    pairs,
    notes: Array.from(raw.notes ?? [], String),
    grids: raw.grids.map((grid) => new PatchGrid(grid, { raw, patched }, where)),
  };
}

/** One kind of site, patched in one place after another. A cell is a `row` (a block, from the first) and a `column`. */
class PatchGrid {
  constructor(raw, { raw: whole, patched }, where) {
    this.kind = String(raw.kind);
    this.blocks = patchingList(raw.blocks, `${where}: blocks`);
    this.ofHeads = Array.isArray(raw.heads);
    this.columns = patchingList(raw.heads ?? raw.positions, `${where}: columns`);
    if (!this.ofHeads && this.columns.some((position) => !(position in patched))) {
      throw new ViewError(`${where}: a column is of a token that is not there. The view is damaged.`);
    }
    const shape = [this.blocks.length, this.columns.length];
    this.values = Object.fromEntries(
      Object.entries(raw.values ?? {}).map(([name, value]) => [name, decodeArray(value, `${where}: ${name}`, shape).data]),
    );
    this.cone = decodeArray(raw.cone, `${where}: cone`, shape).data;
    this.patched = patched;
    this.described = whole.described ?? {};
    this.unpatched = whole.unpatched ?? {};
  }

  /** Whether something that is put into a cell can change what is read after the prompt. */
  reaches(row, column) {
    return this.cone[row * this.columns.length + column] === 1;
  }

  /** A number of a cell; null where there is none. */
  value(name, row, column) {
    const value = this.values[name]?.[row * this.columns.length + column];
    return value === undefined || Number.isNaN(value) ? null : value;
  }

  /** What the grid can be coloured by: around nothing at all, or around what the unpatched run says. */
  colourings() {
    return Object.keys(this.values).map((key) => {
      const { title = key, unit = "" } = this.described[key] ?? {};
      return { key, title: String(title), unit: String(unit), ...patchingRange(key, this.values[key], this.unpatched[key]) };
    });
  }

  /** What a column is called: a head, or a token with its position. */
  columnName(column) {
    return this.ofHeads ? `head ${this.columns[column]}` : `position ${this.columns[column]}`;
  }

  token(column) {
    return this.ofHeads ? null : this.patched[this.columns[column]].text;
  }
}

/** The ends of a scale. Recovery has those of its definition, so that grids can be compared. */
function patchingRange(key, values, unpatched) {
  const known = values.filter((value) => !Number.isNaN(value));
  const most = (of) => known.reduce((best, value) => Math.max(best, of(value)), 0) || 1;
  if (key === "recovery" || key === "placebo") return { low: -1, high: 1, diverging: true };
  if (typeof unpatched === "number" && key !== "answer_rank") {
    const reach = most((value) => Math.abs(value - unpatched));
    return { low: unpatched - reach, high: unpatched + reach, diverging: true };
  }
  const low = key === "answer_rank" ? 1 : 0;
  return { low, high: Math.max(low + 1e-9, most((value) => value)), diverging: false };
}

function patchingList(value, what) {
  if (!Array.isArray(value)) throw new ViewError(`${what} are missing: the view is damaged or was cut short.`);
  return value;
}
