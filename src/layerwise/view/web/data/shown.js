// What of a document is shown by a state: the trace, a comparison, a study's question; and which states fit the data.

import { decodeTrace, ViewError } from "./decode.js";
import { differenceOf } from "./difference.js";
import { traceOfQuestion } from "../study/data.js";

/** What a document offers to states; with `patches`, prompts can be patched live.  `traceOf(state)` is `{trace, problem}`; comparisons are made once. */
export function createShown(view, patches = false) {
  const made = new Map();
  const once = (key, make) => {
    if (!made.has(key)) made.set(key, shownOr(make));
    return made.get(key);
  };
  function traceOf({ trace, against, question }) {
    if (question !== null) return once(`question ${question}`, () => shownQuestion(view.study, question));
    const single = { trace: view.traces[trace] ?? null, problem: null };
    if (against === null) return single;
    const both = once(`${trace} ${against}`, () => differenceOf(view.traces[trace], view.traces[against]));
    return both.trace ? both : { ...single, problem: both.problem };
  }
  return { traceOf, fitted: (state) => shownFitted({ ...view, patches }, traceOf, state) };
}

/** The id of the token that a colouring by token begins with: the answer's, or what leads where the focus is. */
export function shownToken(trace, layer, place) {
  return trace.answer ? (trace.answer.ids[0] ?? trace.answer.deciding.id) : trace.cell(layer, place).id;
}

function shownQuestion(study, row) {
  const raw = traceOfQuestion(study, row);
  if (raw === null) throw new ViewError("The layers of this question are not kept in this view: only its milestones are.");
  return decodeTrace(raw, "This question");
}

function shownOr(make) {
  try {
    return { trace: make(), problem: null };
  } catch (error) {
    if (!(error instanceof ViewError)) throw error;
    return { trace: null, problem: error.message };
  }
}

/** What must change in a state so that it fits the data. */
function shownFitted(view, traceOf, state) {
  const index = state.trace < view.traces.length ? state.trace : 0;
  const rows = view.study?.questions?.id?.length ?? 0;
  const question = state.question !== null && state.question < rows ? state.question : null;
  const other = state.against;
  const against = question === null && other !== null && other < view.traces.length && other !== index ? other : null;
  const chosen = { trace: index, question, against };
  const { trace } = traceOf(chosen);
  const patching = state.patching < view.patchings.length ? state.patching : 0;
  return { ...chosen, patching, tab: shownTab(view, state.tab, trace !== null || question !== null), ...(trace ? shownWithin(trace, state) : {}) };
}

function shownTab(view, tab, traced) {
  const offered = { study: view.study !== null, patching: view.patchings.length > 0, patch: view.patches };
  if (offered[tab]) return tab;
  if (traced || (view.patches && tab === "trace")) return "trace";
  return offered.study ? "study" : offered.patching ? "patching" : "trace";
}

function shownWithin(trace, state) {
  const last = trace.positions.length - 1;
  const from = Math.min(state.from, last);
  const to = state.to === null || state.to >= last || state.to < from ? null : state.to;
  const begin = trace.promptPlace ?? last;
  const asked = state.place === null || state.place > last ? begin : state.place;
  const place = Math.max(from, Math.min(to ?? last, asked));
  const layer = state.layer === null || state.layer > trace.nLayers ? trace.nLayers : state.layer;
  const offered = trace.colourings().find(({ key }) => key === state.colour);
  const unnamed = state.token === null || !shownKnows(trace, state.token);
  const token = !offered?.perToken && unnamed ? null : unnamed ? shownToken(trace, layer, place) : state.token;
  return { from, to, place, layer, colour: offered ? state.colour : "top", token, stride: Math.min(state.stride, trace.nLayers) };
}

const shownIds = new WeakMap();

function shownKnows(trace, id) {
  if (!shownIds.has(trace)) shownIds.set(trace, new Set(trace.knownIds()));
  return shownIds.get(trace).has(id);
}
