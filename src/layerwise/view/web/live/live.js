// Beside a server: prompts are traced as they are typed, results are kept, stored runs are opened.

import { createLiveForm, liveField, liveSelect } from "./form.js";
import { createLivePreview } from "./preview.js";
import { createLiveProgress } from "./progress.js";
import { liveServer } from "./stream.js";
import { element, oneLine, shortened } from "../shared/text.js";
import { toolbarMoved } from "../grid/toolbar.js";

/** Shows what the server of this page has to show; with `live`, what can be asked of it too. */
export async function startLive(root, { mount, live }) {
  const base = "api/";
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const server = liveServer({ base, token });
  try {
    const json = await server.read("document");
    const choices = live ? await server.read("choices") : null;
    mount(root, json, { fragment: true, live: choices && { base, token, choices } });
  } catch (error) {
    root.replaceChildren(element("p", { text: error.message, attrs: { role: "alert" } }));
  }
}

/** The live controls of a view: `{ element, update, asked, trace }`: what the form says, and tracing what another asks for. */
export function createLive(context, { base, token, choices }) {
  const server = liveServer({ base, token });
  const alert = element("p", { class: "lw-live-alert", attrs: { role: "alert" } });
  const progress = createLiveProgress();
  const preview = createLivePreview(context);
  const past = createLiveHistory(context);
  let running = null;

  /** While something is computed, nothing else can be begun. */
  function setBusy(busy) {
    form.setBusy(busy);
    opener?.setBusy(busy);
  }

  /** Asks the server for something, one thing at a time, and hands each message to `take`. */
  async function compute(path, body, take) {
    if (running) return;
    running = new AbortController();
    setBusy(true);
    alert.textContent = "";
    try {
      for await (const message of server.ask(path, body, running.signal)) {
        if (message.progress) progress.show(message.progress);
        else take(message);
      }
    } catch (error) {
      if (error.name === "AbortError") context.announce("Stopped");
      else alert.textContent = error.message;
    } finally {
      running = null;
      setBusy(false);
      progress.clear();
      preview.clear();
    }
  }

  /** Shows a document. Who is typing the next prompt meanwhile types on. */
  function showWhole(json, patch) {
    const typing = document.activeElement;
    context.show(json, patch);
    if (whole.contains(typing)) typing.focus({ preventScroll: true });
  }

  function addTrace(trace) {
    const json = context.document();
    const traces = [...json.traces, trace];
    const shown = { tab: "trace", trace: traces.length - 1, question: null, against: null };
    // What was chosen in another trace may mean something else, or nothing, in this one.
    const anew = { layer: null, place: null, pins: null, token: null, from: 0, to: null };
    showWhole({ ...json, traces }, { ...shown, ...anew });
    context.announce("The trace is whole");
  }

  const trace = (body) =>
    compute("trace", body, (message) => {
      if (message.layer) preview.add(message.layer);
      else if (message.trace) addTrace(message.trace);
    });
  const form = createLiveForm(choices, {
    onRun: () => trace(form.asked()),
    onStop: () => running?.abort(),
    onModel: (name) => compute("load", { model: name }, () => context.announce("The model is loaded")),
  });
  const opener = createLiveOpener(choices, (run) =>
    compute("open", { run }, (message) => {
      const { study, title } = message.document;
      showWhole({ ...context.document(), study, title }, { tab: "study", question: null, set: null });
    }),
  );

  const hint = element("p", {
    class: "lw-live-hint",
    text: "Type a prompt and press Run: a grid shows what the model would say after each of its layers.",
  });
  const parts = [
    choices.models.length ? form.element : null,
    choices.models.length ? hint : null,
    opener?.element,
    progress.element,
    alert,
    preview.element,
    past.element,
  ];
  const whole = element("section", { class: "lw-live", attrs: { "aria-label": "Live" } }, ...parts);
  return {
    element: whole,
    asked: () => form.asked(),
    trace,
    update() {
      hint.hidden = context.traces().length > 0;
      past.update();
    },
  };
}

/** The results so far: each can be shown, or compared with the one shown. */
function createLiveHistory(context) {
  const list = element("ol", { class: "lw-live-history" });
  const box = element("details", { attrs: { open: true } }, element("summary", { text: "History" }), list);
  let drawn = "";

  function entry(trace, index, { trace: shown, against }) {
    const label = shortened(oneLine(trace.label), 100);
    return element(
      "li",
      {},
      element("button", {
        text: label,
        attrs: { type: "button", "aria-current": index === shown ? "true" : null },
        on: { click: () => context.state.set({ ...toolbarMoved(context, index), tab: "trace", against: null }) },
      }),
      element("button", {
        text: index === against ? "Stop comparing" : "Compare",
        attrs: {
          type: "button",
          "aria-label": `${index === against ? "Stop comparing" : "Compare"} with ${label}`,
          disabled: index === shown,
        },
        on: { click: () => context.state.set({ tab: "trace", against: index === against ? null : index, colour: "top" }) },
      }),
    );
  }

  function update() {
    const traces = context.traces();
    const state = context.state.get();
    const wanted = JSON.stringify([traces.map((trace) => trace.label), state.trace, state.against]);
    if (wanted === drawn) return;
    drawn = wanted;
    box.hidden = traces.length === 0;
    list.replaceChildren(...traces.map((trace, index) => entry(trace, index, state)));
  }

  update();
  return { element: box, update };
}

/** Opens one of the folder's runs: `{ element, setBusy }`; null where there is no folder. */
function createLiveOpener(choices, onOpen) {
  if (!choices.runs) return null;
  const readable = choices.runs.filter((run) => !run.error);
  const refused = choices.runs.filter((run) => run.error);
  const run = liveSelect(readable.map((each) => each.name));
  const open = element("button", { text: "Open run", attrs: { type: "submit", disabled: readable.length === 0 } });
  const form = element(
    "form",
    { class: "lw-live-opener", attrs: { "aria-label": "Open a stored run" } },
    liveField("run", "Stored runs", run),
    open,
    refused.length
      ? element("details", {}, element("summary", { text: `${refused.length} cannot be opened` }), ...refused.map(liveRefused))
      : null,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onOpen(run.value);
  });
  return {
    element: form,
    setBusy(busy) {
      open.disabled = busy || readable.length === 0;
    },
  };
}

function liveRefused(run) {
  return element("p", { text: shortened(oneLine(`${run.name}: ${run.error}`), 300) });
}
