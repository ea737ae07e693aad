// Text made visible and harmless, and the elements that hold it. Tokens, prompts and names are untrusted:
// they reach the page as text nodes and attributes only.

/** A token's text with white space shown and everything unprintable spelled out: ␣, ↵, ⇥ and \u{…}. */
export function visible(text) {
  return textShown(text, { "\n": "↵", "\r": "␍", "\t": "⇥", " ": "␣" });
}

/** A prompt or a name on one line: as `visible`, with its spaces left as they are. */
export function oneLine(text) {
  return textShown(text, { "\n": "↵", "\r": "␍", "\t": "⇥" });
}

/** At most `count` characters of what is already visible; what is left out ends in …. */
export function shortened(text, count) {
  // A 10 kB token is cut before it is spread into characters.
  const characters = Array.from(String(text).slice(0, 2 * count + 2));
  return characters.length <= count ? characters.join("") : characters.slice(0, count - 1).join("") + "…";
}

/** What spelling variants share: the text without its leading space, in lower case. */
export function variantKey(text) {
  const bare = String(text).replace(/^[\s▁Ġ]+/u, "").normalize("NFKC").toLowerCase();
  return bare === "" ? String(text) : bare;
}

/** A probability as a reader says it: 43 %, 4.3 %, 0.02 %; what would round to zero and is not reads <0.01 %. */
export function probability(p) {
  if (p === null || Number.isNaN(p)) return "–";
  if (p > 0.9995 && p < 1) return ">99.9 %";
  if (p >= 0.0995) return `${(100 * p).toFixed(p >= 0.995 && p < 1 ? 1 : 0)} %`;
  if (p >= 0.00995) return `${(100 * p).toFixed(1)} %`;
  if (p > 0 && p < 0.00005) return "<0.01 %";
  return p === 0 ? "0 %" : `${(100 * p).toFixed(2)} %`;
}

/** A number with its unit, for measures: probabilities as above, their differences with a minus, the rest in digits. */
export function quantity(value, unit) {
  if (value === null || Number.isNaN(value)) return "–";
  if (unit === "probability") return value < 0 ? textNegative(probability(-value)) : probability(value);
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  const sign = value < 0 && Number(size.toFixed(digits)) !== 0 ? "−" : "";
  return `${sign}${size.toFixed(digits)}${unit ? ` ${unit}` : ""}`;
}

/** A probability's words for its negative: what was less than something is more than its negative. */
function textNegative(said) {
  const turned = { "<": ">−", ">": "<−" }[said[0]];
  return turned ? turned + said.slice(1) : `−${said}`;
}

/** An element; `text` is its text, `attrs` are attributes, `on` are listeners. Children may be strings. */
export function element(tag, { class: names, text, attrs = {}, on = {} } = {}, ...children) {
  const made = document.createElement(tag);
  if (names) made.className = names;
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attrs)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A token as `<bdi>`: text that runs from right to left does not move what stands beside it. */
export function tokenElement(text, { limit = 24 } = {}) {
  const whole = shortened(visible(String(text).slice(0, 400)), 200);
  const shown = shortened(whole, limit);
  return element("bdi", { class: "lw-token", text: shown, attrs: { title: shown === whole ? null : whole } });
}

/** A token in a sentence, without marks: “ Berlin”. */
export function quoted(text) {
  return `“${shortened(visible(String(text).slice(0, 400)), 24)}”`;
}

function textShown(text, substitutes) {
  let shown = "";
  for (const character of String(text)) {
    if (character in substitutes) shown += substitutes[character];
    else if (/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u.test(character) || textIsOddSpace(character)) {
      shown += `\\u{${character.codePointAt(0).toString(16)}}`;
    } else shown += character;
  }
  return shown;
}

function textIsOddSpace(character) {
  return character !== " " && /\p{Zs}/u.test(character);
}
