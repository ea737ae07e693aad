// Patching live: two prompts, cells dragged from one to the other, and what comes of it beside its placebo.

import { createEditList } from "./editlist.js";
import { editOfPatch, editOfScale, editsWith } from "./edits.js";
import { createPatchForm } from "./patchform.js";
import { createPatchResults } from "./patchresults.js";
import { createPatchRuns, patchRun } from "./patchruns.js";
import { createSheet, sheetsDragged } from "./sheet.js";
import { createUndo } from "./undo.js";
import { element, shortened, visible } from "../shared/text.js";

/** Where values are taken and where they are put, and what comes of it. */
const PATCH_SHEETS = [
  ["Source", "The second prompt. Drag a cell from here into the prompt; or choose it and press Enter."],
  ["Prompt", "Drop it here; or choose a cell and press Enter."],
  ["Patched", "The prompt under the edits."],
  ["Placebo", "The same values moved as far, in a random direction."],
];

/** The panel: `{element, update()}`. What it shows is the state's `patch`; `others` are the page's live controls. */
export function createLivePatch(context, live, others) {
  const undo = createUndo();
  const runs = createPatchRuns(context, live, () => draw());
  const form = createPatchForm(live.choices, showBoth);
  const results = createPatchResults(context, { onColour: (colour) => change({ colour }), onKeep: keep });
  const edits = createEditList({
    onTurn: (wanted, index) => change({ edits: wanted }, `slider ${index}`),
    onChange: (wanted) => change({ edits: wanted }),
    onAdd: (text) => change({ edits: editsWith(now().edits, text) }),
  });
  const button = (text, act, title = null) => element("button", { text, attrs: { type: "button", title }, on: { click: act } });
  const back = button("Undo", () => step(undo.undo), "Ctrl+Z, or ⌘+Z");
  const forth = button("Redo", () => step(undo.redo), "Ctrl+Shift+Z, or ⌘+Shift+Z");
  const patchIt = button("Patch the chosen cells", patchChosen);
  const scaleIt = button("Scale the prompt’s chosen cell", () => change({ edits: editsWith(now().edits, editOfScale(chosen(1), 1)) }));
  const draws = button("Another placebo", () => change({ seed: now().seed + 1 }));
  const bar = element("div", { class: "lw-toolbar" }, patchIt, scaleIt, draws, back, forth, runs.stop);
  const sheets = PATCH_SHEETS.map(([title, help], index) =>
    createSheet(context, {
      title,
      help,
      onChoose: (cell) => choose(index, cell),
      onEnter: () => (index === 0 ? sheets[1].focus() : index === 1 ? patchChosen() : null),
    }),
  );
  const board = element("div", { class: "lw-sheets" }, sheets.map((sheet) => sheet.element));
  const work = element("div", { class: "lw-patch-work" }, bar, edits.element, results.element, board);
  const whole = element("section", { class: "lw-live-patch", attrs: { "aria-label": "Patch live" } }, form.element, runs.progress, runs.alert, work);
  let [filled, seen] = ["", null];

  const now = () => context.state.get().patch;

  /** Changes what is asked for. Steps of one `key` are undone together. */
  function change(patch, key = null) {
    undo.note(now(), key);
    context.state.set({ patch: { ...now(), ...patch } });
  }

  function step(way) {
    const found = way(now());
    if (found !== null) context.state.set({ patch: found });
  }

  function showBoth() {
    const asked = form.asked();
    const before = now();
    const same = before && before.prompt === asked.prompt && before.source === asked.source && before.chat === asked.chat;
    runs.forget();
    const fresh = { colour: "top", seed: 0, ...before, ...asked, ...(same ? {} : { edits: [], from: null, to: null }) };
    if (before) undo.note(before);
    context.state.set({ patch: fresh });
    update(); // the same prompts once more: after an error, or with a server that was started again
  }

  /** What is chosen in a sheet; at first its end: of what is patched in the middle, of what comes of it the output. */
  function cellOf(index) {
    const trace = runs.traces[index];
    const asked = index > 1 ? seen : now()[["from", "to"][index]];
    const [layer, place] = asked ?? [index > 1 ? trace.nLayers : Math.floor(trace.nLayers / 2), trace.promptPlace];
    return { layer: Math.min(layer, trace.nLayers), place: Math.min(place, trace.positions.length - 1) };
  }

  function chosen(index) {
    const { layer, place } = cellOf(index);
    return { layer, position: runs.traces[index].positions[place] };
  }

  function choose(index, { layer, place }) {
    if (index > 1) {
      seen = [layer, place];
      draw();
    } else context.state.set({ patch: { ...now(), [["from", "to"][index]]: [layer, place] } });
  }

  function patchChosen() {
    change({ edits: editsWith(now().edits, editOfPatch(now().source, chosen(0), chosen(1))) });
    context.announce("Patched");
  }

  /** Cells go from the second prompt into the first; dropped the other way round, the prompts change places. */
  function drop(from, cell, to, other) {
    const { prompt, source, edits: before } = now();
    const at = (index, { layer, place }) => ({ layer, position: runs.traces[index].positions[place] });
    const [taken, put] = [at(from, cell), at(to, other)];
    const both = { from: [cell.layer, cell.place], to: [other.layer, other.place] };
    if (from === 0) change({ ...both, edits: editsWith(before, editOfPatch(source, taken, put)) });
    else change({ ...both, prompt: source, source: prompt, edits: [editOfPatch(prompt, taken, put)] });
  }

  function keep() {
    const { model, lens, prompt, edits: made } = now();
    context.state.set({ tab: "trace" });
    others.trace({ model, lens, ...patchRun(now(), prompt, made) });
  }

  function draw() {
    const patch = now();
    const ready = patch !== null && runs.traces[0] !== null && runs.traces[1] !== null;
    work.hidden = !ready;
    if (!ready) return;
    const colour = results.draw(runs.traces, patch, runs.behind());
    sheets.forEach((sheet, index) => sheet.draw(runs.traces[index], runs.traces[index] && cellOf(index), colour));
    edits.draw(patch.edits);
    if (patch.edits.includes(edits.typed()) && !runs.behind()) edits.clear();
    back.disabled = !undo.canUndo();
    forth.disabled = !undo.canRedo();
  }

  function update() {
    const patch = now();
    if (patch === null) {
      work.hidden = true;
      if (filled === "") form.fill({ source: "", ...others.asked(), answers: others.asked().answer });
      filled = "typed";
      return;
    }
    const { model, lens, prompt, source, answers, chat } = patch;
    const asked = JSON.stringify([model, lens, prompt, source, answers, chat]);
    if (asked !== filled) form.fill(patch);
    filled = asked;
    runs.want(patch);
    draw();
  }

  whole.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
    if (typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    step(event.shiftKey ? undo.redo : undo.undo);
  });
  sheetsDragged(whole, sheets.slice(0, 2), {
    label: (index, { layer, place }) => {
      const { tokens, positions } = runs.traces[index];
      return `layer ${layer}, ${shortened(visible(tokens[positions[place]].text.slice(0, 200)), 24)}`;
    },
    onDrop: drop,
  });
  return { element: whole, update };
}
