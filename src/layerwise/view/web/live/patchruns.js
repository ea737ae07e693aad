// What the server is asked for while patching: both prompts once, then the prompt under its edits and their placebo.

import { decodeTrace, ViewError } from "../data/decode.js";
import { editPlacebo } from "./edits.js";
import { createLiveProgress } from "./progress.js";
import { LiveError, liveServer } from "./stream.js";
import { element } from "../shared/text.js";

/** Milliseconds that a slider is waited for. */
const PATCH_PATIENCE = 60;

/** One run, as the server is asked for it. */
export function patchRun({ answers, chat }, prompt, edits) {
  return { prompt, positions: "all", answer: answers.slice(0, 1), track: answers, chat, edits };
}

/**
 * The four runs: `traces` of the second prompt, the prompt, the patched one and its placebo, null where there is none.
 *
 * `want(patch)` asks for what is not there yet, and lets go of what was asked for before; `changed()` is told of answers.
 */
export function createPatchRuns(context, { base, token }, changed) {
  const server = liveServer({ base, token });
  const alert = element("p", { class: "lw-live-alert", attrs: { role: "alert" } });
  const progress = createLiveProgress();
  const stop = element("button", { text: "Stop", attrs: { type: "button", disabled: true }, on: { click: () => running?.abort() } });
  const runs = { traces: [null, null, null, null], alert, stop, progress: progress.element };
  let [running, timer] = [null, null];
  // What was asked for last, and what the traces are of.
  let [wanted, pair, edited] = ["", "", ""];

  async function asked({ model, lens }, prompts, signal) {
    for await (const message of server.ask("traces", { model, lens, prompts }, signal)) {
      if (message.progress) progress.show(message.progress);
      else return message.traces.map((trace) => decodeTrace(trace));
    }
    return [];
  }

  async function compute(patch, mine) {
    const both = patchPair(patch);
    if (both !== pair) {
      Object.assign(runs, { traces: [null, null, null, null] });
      [pair, edited] = ["", ""];
      const found = await asked(patch, [patchRun(patch, patch.source, []), patchRun(patch, patch.prompt, [])], mine.signal);
      [pair, runs.traces] = [both, [...found, null, null]];
      changed();
    }
    const now = patchEdited(patch);
    if (now === edited) return;
    const placebos = patch.edits.map((edit) => editPlacebo(edit, patch.seed));
    // Both in one pass: they share the source's, and two passes take nearly twice as long.
    const found = patch.edits.length
      ? await asked(patch, [patch.edits, placebos].map((edits) => patchRun(patch, patch.prompt, edits)), mine.signal)
      : [null, null];
    [edited, runs.traces] = [now, [...runs.traces.slice(0, 2), ...found]];
  }

  async function begin(patch) {
    const mine = new AbortController();
    running = mine;
    stop.disabled = false;
    alert.textContent = "";
    try {
      await compute(patch, mine);
    } catch (error) {
      if (running !== mine) return;
      if (error.name === "AbortError") context.announce("Stopped");
      else if (error instanceof LiveError || error instanceof ViewError) alert.textContent = error.message;
      else throw error;
    } finally {
      if (running === mine) {
        running = null;
        stop.disabled = true;
        progress.clear();
        changed();
      }
    }
  }

  return Object.assign(runs, {
    /** Whether what is shown is not what was asked for last: it is awaited, was stopped, or cannot be done. */
    behind: () => wanted !== pair + edited,
    forget() {
      wanted = "";
    },
    want(patch) {
      const now = patchPair(patch) + patchEdited(patch);
      if (now === wanted) return;
      wanted = now;
      running?.abort();
      running = null;
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = null;
        begin(patch);
      }, PATCH_PATIENCE);
    },
  });
}

function patchPair({ model, lens, prompt, source, answers, chat }) {
  return JSON.stringify([model, lens, prompt, source, answers, chat]);
}

function patchEdited({ edits, seed }) {
  return JSON.stringify([edits, edits.length ? seed : 0]);
}
