// The chooser of a token: a text field with proposals, for the colouring by any token's probability.

import { element, shortened, visible } from "../shared/text.js";

/** A field that is shown while the colouring asks for a token. */
export function createTokenField(context) {
  const name = `lw-tokens-${Math.random().toString(36).slice(2)}`;
  const proposals = element("datalist", { attrs: { id: name } });
  const input = element("input", { attrs: { type: "text", list: name, size: "14", spellcheck: "false", autocomplete: "off" } });
  const said = element("span", { class: "lw-label", text: "Token" });
  const field = element("label", { class: "lw-field" }, said, input, proposals);
  const told = element("span", { class: "lw-unseen", attrs: { role: "status" } });
  const propose = () => {
    const found = tokenMatches(context, input.value, 40);
    const option = (id) => element("option", { attrs: { value: tokenName(context.trace(), id) } });
    proposals.replaceChildren(...found.map(option));
  };
  const choose = () => {
    const [id] = tokenMatches(context, input.value, 1);
    const fits = id !== undefined && input.value.trim() !== "";
    input.setAttribute("aria-invalid", String(!fits));
    told.textContent = fits ? "" : "No token of this view is so spelled.";
    if (fits) context.state.set({ token: id });
    if (fits) input.value = tokenName(context.trace(), id);
  };
  input.addEventListener("focus", () => {
    input.select();
    propose();
  });
  input.addEventListener("input", propose);
  input.addEventListener("change", choose);
  const whole = element("div", { class: "lw-field" }, field, told);
  return {
    element: whole,
    update() {
      const { token } = context.state.get();
      whole.hidden = !context.colouring().perToken;
      if (!whole.hidden && token !== null && document.activeElement !== input) {
        input.value = tokenName(context.trace(), token);
        input.setAttribute("aria-invalid", "false");
      }
    },
  };
}

/** Ids whose visible text is, begins with or contains what was typed, in this order; spaces and ␣ are one. */
export function tokenMatches(context, typed, count) {
  const trace = context.trace();
  const asked = /^(.*?)(?: #(\d+))?$/su.exec(typed);
  const wanted = asked[1].replaceAll(" ", "␣");
  const bare = wanted.replaceAll("␣", "").toLowerCase();
  const ids = bare === "" && wanted === "" ? tokenNear(context) : trace.knownIds();
  const ranked = [[], [], [], []];
  for (const id of ids) {
    if (asked[2] !== undefined && String(id) === asked[2]) return [id];
    const text = shortened(visible(trace.textOf(id).slice(0, 200)), 40);
    const plain = text.replaceAll("␣", "").toLowerCase();
    if (text === wanted) ranked[0].push(id);
    else if (plain === bare) ranked[1].push(id);
    else if (plain.startsWith(bare)) ranked[2].push(id);
    else if (plain.includes(bare)) ranked[3].push(id);
  }
  return ranked.flat().slice(0, count);
}

/** Without anything typed: the answer, the followed tokens and those that lead at the focused position. */
function tokenNear(context) {
  const trace = context.trace();
  const { place } = context.state.get();
  return new Set([...(trace.answer?.ids ?? []), ...trace.tracked.map(({ id }) => id), ...trace.leaders(place)]);
}

/** As listed and typed: its text, and its id, since several tokens can look alike. */
function tokenName(trace, id) {
  return `${shortened(visible(trace.textOf(id).slice(0, 200)), 40)} #${id}`;
}
