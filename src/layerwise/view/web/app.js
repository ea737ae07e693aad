// The view: a document drawn into an element. The same for notebooks, files and the live server.

import { createBadge } from "./detail/badge.js";
import { createChart } from "./detail/chart.js";
import { decodeDocument, ViewError } from "./data/decode.js";
import { createDetail } from "./detail/detail.js";
import { createExports } from "./exports/exports.js";
import { createGrid } from "./grid/grid.js";
import { createLegend } from "./grid/legend.js";
import { createLive } from "./live/live.js";
import { createLivePatch } from "./live/patch.js";
import { createPatching } from "./patching/patching.js";
import { decodePatching } from "./patching/data.js";
import { pinsToggled, shownPins } from "./detail/pins.js";
import { createShown } from "./data/shown.js";
import { createState } from "./shared/state.js";
import { createStudy } from "./study/study.js";
import { element, oneLine, shortened } from "./shared/text.js";
import { createTheme } from "./shared/theme.js";
import { createToolbar } from "./grid/toolbar.js";
import { headline } from "./grid/words.js";

/**
 * Draws a document (its JSON text or object) into `root`. A document that cannot be read becomes a message.
 *
 * `fragment`: the state is kept in the page's address. `live`: null, or how to reach the server after the page.
 * Returns `show(json, patch)`, which draws another document and may change the state, and `destroy()`.
 */
export function mount(root, json, { fragment = false, live = null } = {}) {
  const view = element("div", { class: fragment ? "lw-view lw-page" : "lw-view" });
  const spoken = element("div", { class: "lw-unseen", attrs: { role: "status" } });
  const app = { view, live, spoken, read: null, shown: null, state: null, parts: [], panels: [] };
  root.replaceChildren(view);
  app.theme = createTheme(view, fragment, () => appUpdate(app));
  app.context = appContext(app);
  app.show = (next, patch = {}) => appShow(app, next, { fragment, patch });
  app.show(json);
  return {
    show: app.show,
    destroy() {
      appClear(app);
      app.theme.destroy();
      root.replaceChildren();
    },
  };
}

export default {
  /** For anywidget: the document comes with the model. */
  render({ model, el }) {
    const mounted = mount(el, model.get("document"));
    const changed = () => mounted.show(model.get("document"));
    model.on("change:document", changed);
    return () => {
      model.off("change:document", changed);
      mounted.destroy();
    };
  },
};

/** What components are handed. */
function appContext(app) {
  const now = () => app.shown.traceOf(app.state.get());
  const context = {
    element,
    state: {
      get: () => app.state.get(),
      subscribe: (listener) => app.state.subscribe(listener),
      // Whoever chooses a trace wants to see that, not a study's question.
      set: (patch) => app.state.set("trace" in patch && !("question" in patch) ? { question: null, ...patch } : patch),
    },
    document: () => app.read.raw,
    study: () => app.read.study,
    trace: () => now().trace,
    problem: () => now().problem,
    traces: () => app.read.traces,
    patchings: () => app.read.patchings,
    colouring() {
      const { colour } = app.state.get();
      return now().trace.colourings().find(({ key }) => key === colour);
    },
    pins: () => shownPins(now().trace, app.state.get(), app.state.get().place),
    togglePin(id) {
      const before = context.pins();
      context.state.set({ pins: pinsToggled(now().trace, app.state.get(), app.state.get().place, id) });
      context.announce(`${shortened(oneLine(now().trace.textOf(id).slice(0, 100)), 40)} ${before.includes(id) ? "unpinned" : "pinned"}`);
    },
    announce(text) {
      app.spoken.textContent = text;
    },
    css: (name) => app.theme.colour(name),
    font: () => app.theme.font(),
    dark: () => app.theme.dark(),
    show: (json, patch) => app.show(json, patch),
    grid: () => app.grid,
  };
  return context;
}

function appShow(app, json, { fragment, patch }) {
  const before = app.state ? app.state.get() : null;
  let read;
  try {
    read = decodeDocument(json);
    read.patchings = (read.raw.patchings ?? []).map((one, index) => decodePatching(one, `Patch grids ${index + 1}`));
    if (!read.traces.length && !read.study && !read.patchings.length && !app.live) {
      throw new ViewError("This view is empty: it holds neither a trace, nor a study, nor patch grids.");
    }
  } catch (error) {
    appClear(app);
    app.view.replaceChildren(element("p", { class: "lw-message", text: appReason(error), attrs: { role: "alert" } }));
    return;
  }
  const kept = app.liveControls;
  appClear(app);
  app.read = read;
  app.shown = createShown(read, appPatches(app));
  app.state = createState({ tab: appFirstTab(read) }, { fragment, fitted: app.shown.fitted });
  app.liveControls = kept ?? (app.live ? createLive(app.context, app.live) : null);
  if (appPatches(app)) app.livePatch ??= appLivePatch(app);
  appBuild(app);
  app.state.subscribe(() => appUpdate(app));
  if (before) app.state.set({ ...before, ...patch });
  appUpdate(app);
}

/** Whether prompts can be patched here: a server has models to run them with. */
function appPatches(app) {
  return Boolean(app.live?.choices.models.length);
}

/** The panel in which prompts are patched, made when it is first shown; it stays when another document is. */
function appLivePatch(app) {
  const holder = element("div");
  let made = null;
  return {
    element: holder,
    update() {
      made ??= createLivePatch(app.context, app.live, app.liveControls);
      if (!holder.firstChild) holder.append(made.element);
      made.update();
    },
  };
}

function appFirstTab(read) {
  if (read.study) return "study";
  return read.patchings.length && !read.traces.length ? "patching" : "trace";
}

function appReason(error) {
  if (error instanceof ViewError) return error.message;
  return `This view cannot be drawn: its data are not as expected (${shortened(oneLine(String(error.message)), 200)}).`;
}

function appBuild(app) {
  const { context, read } = app;
  const title = element("h1", { text: shortened(oneLine(read.title), 200) });
  const head = element("header", { class: "lw-head" }, title);
  const tabs = appTabs(context, read, appPatches(app));
  const parts = appPatches(app) ? [tabs, app.liveControls] : [app.liveControls, tabs].filter(Boolean);
  app.panels = [appPanel("trace", read.traces.length || read.study ? appTrace(app) : [])];
  if (read.study) {
    app.study = createStudy(context);
    app.panels.push(appPanel("study", [app.study]));
  }
  if (read.patchings.length) app.panels.push(appPanel("patching", [createPatching(context)]));
  if (appPatches(app)) app.panels.push(appPanel("patch", [app.livePatch]));
  app.parts = parts;
  app.view.replaceChildren(head, ...parts.map((part) => part.element), ...app.panels.map((panel) => panel.element), app.spoken);
}

function appPanel(name, parts) {
  return { name, parts, element: element("div", { class: `lw-panel-${name}` }, ...parts.map((part) => part.element)) };
}

/** The parts that show a trace, from the headline to the chart. */
function appTrace(app) {
  const { context } = app;
  app.grid = createGrid(context);
  const [detail, chart, legend] = [createDetail(context), createChart(context), createLegend(context)];
  const side = element("div", { class: "lw-side" }, chart.element, detail.element);
  const main = element("div", { class: "lw-main" }, app.grid.element, legend.element);
  const body = element("div", { class: "lw-body" }, main, side);
  const beside = {
    element: body,
    update() {
      body.classList.toggle("lw-narrow-grid", context.trace().positions.length <= 3);
      for (const part of [detail, chart, legend, app.grid]) part.update();
    },
  };
  return [appHeadline(context, app.read.title), createBadge(context), createToolbar(context, [createExports(context)]), beside];
}

function appHeadline(context, title) {
  const said = element("h2", { class: "lw-headline" });
  const about = element("p", { class: "lw-about" });
  const problem = element("p", { class: "lw-message", attrs: { role: "alert" } });
  let known = null;
  return {
    element: element("div", {}, problem, said, about),
    update() {
      problem.hidden = context.problem() === null;
      problem.textContent = context.problem();
      if (known === context.trace()) return;
      known = context.trace();
      said.textContent = headline(known);
      about.replaceChildren(...appAbout(known, title));
    },
  };
}

/** The model, the lens, and the prompt where the title does not tell it. */
function appAbout(trace, named) {
  const title = named.trim();
  const read = `${shortened(oneLine(String(trace.model.name ?? "").slice(0, 400)), 80)} · ${shortened(oneLine(trace.lens), 40)} lens`;
  const prompt = oneLine(trace.prompt.slice(0, 2000)).trim();
  const told = prompt === title || (title.endsWith("…") && prompt.startsWith(title.slice(0, -1)));
  return told ? [read] : [read, " · ", element("bdi", { text: shortened(prompt, 300) })];
}

/** Tabs where there are several kinds of things to see; null elsewhere. */
function appTabs(context, read, patches) {
  if (!read.study && !patches && !(read.patchings.length && read.traces.length)) return null;
  const tab = (name, text) =>
    element("button", {
      text,
      attrs: { type: "button", "data-tab": name },
      on: { click: () => context.state.set({ tab: name }) },
    });
  const trace = tab("trace", "Question grid");
  const tabs = [
    read.study ? tab("study", "Study") : null,
    trace,
    read.patchings.length ? tab("patching", "Patch grids") : null,
    patches ? tab("patch", "Patch live") : null,
  ].filter(Boolean);
  return {
    element: element("div", { class: "lw-tabs", attrs: { role: "group", "aria-label": "What is shown" } }, tabs),
    update() {
      for (const one of tabs) one.setAttribute("aria-pressed", String(one.dataset.tab === context.state.get().tab));
      const ofStudy = read.study && !(context.state.get().question === null && read.traces.length);
      trace.textContent = ofStudy ? "Question grid" : "Trace";
      trace.disabled = !patches && context.trace() === null && context.problem() === null;
    },
  };
}

function appUpdate(app) {
  if (!app.state) return;
  const { tab } = app.state.get();
  app.theme.choose(app.state.get().theme);
  for (const part of app.parts) part.update();
  if (app.liveControls) app.liveControls.element.hidden = tab === "patch";
  for (const panel of app.panels) {
    const drawn = panel.name !== "trace" || app.context.trace() !== null;
    panel.element.hidden = panel.name !== tab || !drawn;
    if (!panel.element.hidden) for (const part of panel.parts) part.update();
  }
}

function appClear(app) {
  app.grid?.destroy();
  app.study?.destroy();
  app.state?.destroy();
  Object.assign(app, { grid: null, study: null, state: null, parts: [], panels: [] });
}
