// What is chosen, in one place; kept in the page's address where asked for, so that a reload or a link shows the same.

/** The keys of a view's state with the values that they begin with. null: as the data say. */
export function stateDefaults() {
  return {
    tab: "trace",
    trace: 0,
    against: null,
    colour: "top",
    token: null,
    layer: null,
    place: null,
    stride: 1,
    from: 0,
    to: null,
    pins: null,
    variants: false,
    log: false,
    theme: "auto",
    question: null,
    set: null,
    milestone: null,
    curve: null,
    matrix: "known",
    sort: null,
    filter: "",
    patching: 0,
    kind: null,
    effect: null,
    row: null,
    column: null,
    patch: null,
  };
}

/**
 * A state that tells its listeners what changed.
 *
 * `initial` are the values that differ from the defaults and stay out of the address. `fitted` takes a whole state
 * and returns what must change in it because it is out of the data's range.
 */
export function createState(initial, { fragment = false, fitted = () => ({}) } = {}) {
  const start = { ...stateDefaults(), ...initial };
  const settle = (wanted) => ({ ...wanted, ...fitted(wanted) });
  let now = settle({ ...start, ...(fragment ? stateRead() : {}) });
  const listeners = new Set();
  let timer = null;

  function write() {
    timer = null;
    const kept = Object.entries(now).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(start[key]));
    const bare = location.pathname + location.search;
    const hash = kept.length ? `#${encodeURIComponent(JSON.stringify(Object.fromEntries(kept)))}` : "";
    history.replaceState(history.state, "", hash || bare);
  }

  function change(patch) {
    const before = now;
    now = settle({ ...now, ...patch });
    const changed = Object.keys(now).filter((key) => JSON.stringify(now[key]) !== JSON.stringify(before[key]));
    if (!changed.length) return changed;
    for (const listener of listeners) listener(now, changed);
    return changed;
  }

  const state = {
    get: () => now,
    set(patch) {
      const changed = change(stateValid(patch));
      // Browsers refuse more than a hundred or so address changes in half a minute; arrow keys make more.
      if (changed.length && fragment && timer === null) timer = setTimeout(write, 150);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    destroy() {
      removeEventListener("hashchange", followed);
      if (timer !== null) clearTimeout(timer);
      listeners.clear();
    },
  };
  const followed = () => change({ ...start, ...stateRead() });
  if (fragment) addEventListener("hashchange", followed);
  return state;
}

const stateIndex = (value) => Number.isInteger(value) && value >= 0;
const stateText = (value) => typeof value === "string" && value.length <= 500;

/** Those keys of `patch` that are a state's and hold the right type; the rest is dropped. */
export function stateValid(patch) {
  const or = (check) => (value) => value === null || check(value);
  const checks = {
    tab: (value) => ["trace", "study", "patching", "patch"].includes(value),
    trace: stateIndex,
    against: or(stateIndex),
    colour: stateText,
    token: or(stateIndex),
    layer: or(stateIndex),
    place: or(stateIndex),
    stride: (value) => stateIndex(value) && value >= 1,
    from: stateIndex,
    to: or(stateIndex),
    pins: or((value) => Array.isArray(value) && value.length <= 32 && value.every(stateIndex)),
    variants: (value) => typeof value === "boolean",
    log: (value) => typeof value === "boolean",
    theme: (value) => ["auto", "light", "dark"].includes(value),
    question: or(stateIndex),
    set: or(stateText),
    milestone: or(stateText),
    curve: or(stateText),
    matrix: (value) => ["known", "depth"].includes(value),
    sort: or(stateText),
    filter: stateText,
    patching: stateIndex,
    kind: or(stateText),
    effect: or(stateText),
    row: or(stateIndex),
    column: or(stateIndex),
    patch: or(statePatch),
  };
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return {};
  return Object.fromEntries(
    Object.entries(patch).filter(([key, value]) => Object.hasOwn(checks, key) && checks[key](value)),
  );
}

/** Whether a value is what is patched live: two prompts, and the edits between them. */
function statePatch(value) {
  const texts = (list, most) => Array.isArray(list) && list.length <= most && list.every((one) => typeof one === "string" && one.length <= 50_000);
  const cell = (one) => one === null || (Array.isArray(one) && one.length === 2 && one.every(stateIndex));
  if (typeof value !== "object" || Array.isArray(value)) return false;
  const { model, lens, prompt, source, answers, chat, edits, seed, from, to, colour } = value;
  const named = texts([model, lens, prompt, source, colour], 5) && texts(answers, 16) && texts(edits, 16);
  return named && typeof chat === "boolean" && stateIndex(seed) && cell(from) && cell(to);
}

function stateRead() {
  try {
    return stateValid(JSON.parse(decodeURIComponent(location.hash.slice(1))));
  } catch {
    return {};
  }
}
