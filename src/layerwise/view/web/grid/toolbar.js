// The choosers above the grid. Each shows what the state says and sets what the reader chooses.

import { element, oneLine, shortened } from "../shared/text.js";
import { createTokenField } from "./tokenfield.js";
import { createViewMenu } from "./viewmenu.js";

/** The choosers of trace, lens, comparison, colour, token and view; `extras` (exports) stand at the end. */
export function createToolbar(context, extras = []) {
  const grouped = toolbarGrouped(context);
  const parts = [
    toolbarTraces(context, grouped),
    toolbarLenses(context, grouped),
    toolbarAgainst(context),
    toolbarColours(context),
    createTokenField(context),
    createViewMenu(context),
  ];
  const made = element("div", { class: "lw-toolbar" }, parts.map((part) => part.element), extras.map((part) => part.element));
  return {
    element: made,
    update() {
      for (const part of [...parts, ...extras]) part.update();
    },
  };
}

/** A labelled control. */
function toolbarField(label, control) {
  return element("label", { class: "lw-field" }, element("span", { class: "lw-label", text: label }), control);
}

/** Traces that differ in nothing but the lens are one entry: `[{label, members: [index]}]`. */
export function toolbarGroups(traces) {
  const groups = new Map();
  traces.forEach((trace, index) => {
    const key = JSON.stringify([trace.model, trace.prompt, trace.tokens, trace.positions, trace.answer?.texts ?? null]);
    const group = groups.get(key) ?? { key, lenses: new Set(), members: [] };
    // Two of one lens would not be told apart by it.
    const own = group.lenses.has(trace.lens) ? { key: `${key} ${index}`, lenses: new Set(), members: [] } : group;
    own.lenses.add(trace.lens);
    own.members.push(index);
    groups.set(own.key, own);
  });
  return [...groups.values()].map(({ members }) => ({ label: toolbarLabel(traces, members), members }));
}

/** The groups of the traces now there; they are told apart by all their tokens, which takes time. */
function toolbarGrouped(context) {
  let [known, groups] = [null, []];
  return () => {
    if (known !== context.traces()) [known, groups] = [context.traces(), toolbarGroups(context.traces())];
    return groups;
  };
}

/** What another trace's state begins with, so that the focus stays at the same depth. */
export function toolbarMoved(context, index) {
  const shown = toolbarOfQuestion(context) ? context.trace() : context.traces()[context.state.get().trace];
  const [from, to] = [shown, context.traces()[index]];
  const layer = Math.round(from.depth(context.state.get().layer) * to.nLayers);
  const alike = from.positions.length === to.positions.length;
  return alike ? { trace: index, layer } : { trace: index, layer, place: null, from: 0, to: null };
}

/** Whether a study's question is shown: none of the document's traces, so nothing to choose among them. */
function toolbarOfQuestion(context) {
  return context.state.get().question !== null;
}

function toolbarLabel(traces, members) {
  const first = traces[members[0]];
  const whole = members.length > 1 ? first.label.replace(` · ${first.lens} · `, " · ") : first.label;
  return shortened(oneLine(whole.slice(0, 400)), 70);
}

function toolbarTraces(context, grouped) {
  const select = element("select", { on: { change: () => choose(Number(select.value)) } });
  const field = toolbarField("Trace", select);
  let known = null;
  function choose(at) {
    const { members } = grouped()[at];
    const lens = context.traces()[context.state.get().trace].lens;
    const same = members.find((index) => context.traces()[index].lens === lens);
    context.state.set({ ...toolbarMoved(context, same ?? members[0]), against: null });
  }
  return {
    element: field,
    update() {
      const groups = grouped();
      if (known !== groups) {
        known = groups;
        toolbarOptions(select, groups.map(({ label }, index) => [String(index), label]));
      }
      field.hidden = groups.length < 2 || toolbarOfQuestion(context);
      select.value = String(groups.findIndex(({ members }) => members.includes(context.state.get().trace)));
    },
  };
}

function toolbarLenses(context, grouped) {
  const buttons = element("div", { class: "lw-buttons", attrs: { role: "group", "aria-label": "Lens" } });
  const field = element("div", { class: "lw-field" }, element("span", { class: "lw-label", text: "Lens" }), buttons);
  let known = "";
  return {
    element: field,
    update() {
      const traces = context.traces();
      const { trace } = context.state.get();
      const members = grouped().find((group) => group.members.includes(trace))?.members ?? [];
      field.hidden = members.length < 2 || toolbarOfQuestion(context);
      if (known !== members.join()) {
        known = members.join();
        const button = (index) =>
          element("button", {
            text: shortened(oneLine(traces[index].lens), 24),
            attrs: { type: "button", "data-trace": String(index) },
            on: { click: () => context.state.set(toolbarMoved(context, index)) },
          });
        buttons.replaceChildren(...members.map(button));
      }
      for (const one of buttons.children) one.setAttribute("aria-pressed", String(Number(one.dataset.trace) === trace));
    },
  };
}

function toolbarAgainst(context) {
  const select = element("select", {
    on: { change: () => context.state.set({ against: select.value === "" ? null : Number(select.value), colour: "top" }) },
  });
  const field = toolbarField("Compare with", select);
  let known = null;
  return {
    element: field,
    update() {
      const { trace, against } = context.state.get();
      const traces = context.traces();
      field.hidden = traces.length < 2 || toolbarOfQuestion(context);
      if (known?.traces !== traces || known.trace !== trace) {
        known = { traces, trace };
        const others = traces.map((one, index) => [String(index), shortened(oneLine(one.label.slice(0, 400)), 70)]);
        toolbarOptions(select, [["", "nothing"], ...others.filter((_, index) => index !== trace)]);
      }
      select.value = against === null ? "" : String(against);
    },
  };
}

function toolbarColours(context) {
  const select = element("select", { on: { change: () => context.state.set({ colour: select.value }) } });
  let known = "";
  return {
    element: toolbarField("Colour", select),
    update() {
      const offered = context.trace().colourings();
      const listed = offered.map(({ key, title }) => `${key} ${title}`).join();
      if (known !== listed) {
        known = listed;
        toolbarOptions(select, offered.map(({ key, title, unit }) => [key, unit === "bits" ? `${title} (bits)` : title]));
      }
      select.value = context.state.get().colour;
    },
  };
}

function toolbarOptions(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { text, attrs: { value } })));
}

