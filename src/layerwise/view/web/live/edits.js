// Edits as text, one line each (docs/how-to/edits.md): made of cells, and their numbers turned.

/** Numbers of edits that a slider turns: their ends, and by how much. */
const EDIT_NUMBERS = {
  factor: { low: 0, high: 3, step: 0.05 },
  strength: { low: -3, high: 3, step: 0.05 },
  deviation: { low: 0, high: 3, step: 0.05 },
};

/** A text as one word of an edit, whatever is in it. */
export function editQuoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** The patch that puts what `source`, another prompt, has at one cell `{layer, position}` into another. */
export function editOfPatch(source, from, to) {
  const at = from.position === to.position ? "" : ` at=${from.position}`;
  const of = from.layer === to.layer ? "" : ` of='layer ${from.layer}'`;
  return `patch 'layer ${to.layer}@${to.position}' source=${editQuoted(source)}${at}${of}`;
}

/** The edit that multiplies a cell. */
export function editOfScale({ layer, position }, factor) {
  return `scale 'layer ${layer}@${position}' factor=${factor}`;
}

/** What an edit changes: its site with positions, as it is written. */
export function editPlace(text) {
  return /^\s*\S+\s+(?:'([^']*)'|(\S+))/.exec(text)?.slice(1).find(Boolean) ?? "";
}

/** Some edits with one more, which takes the place of those that change the same. */
export function editsWith(edits, more) {
  const place = editPlace(more);
  return [...edits.filter((edit) => editPlace(edit) !== place), more];
}

/** The number of an edit that a slider turns: `{name, value, low, high, step}`; null where it has none. */
export function editNumber(text) {
  const found = editFound(text);
  return found && { name: found[1], value: Number(found[2]), ...EDIT_NUMBERS[found[1]] };
}

/** An edit with another number. */
export function editTurned(text, value) {
  const found = editFound(text);
  const start = found.index + found[0].length - found[2].length;
  return text.slice(0, start) + value + text.slice(start + found[2].length);
}

/** An edit's placebo; attention that is cut has none. */
export function editPlacebo(text, seed) {
  const none = /^\s*cut\s/.test(text) || /pattern/.test(editPlace(text)) || /\splacebo=/.test(editBare(text));
  return none ? text : `${text} placebo=${seed}`;
}

/** The number is looked for outside of what is quoted: a prompt may say anything. */
function editFound(text) {
  return new RegExp(`\\s(${Object.keys(EDIT_NUMBERS).join("|")})=(-?\\d+(?:\\.\\d+)?)(?=\\s|$)`).exec(editBare(text));
}

function editBare(text) {
  return text.replace(/'[^']*'|"[^"]*"/g, (part) => "_".repeat(part.length));
}
