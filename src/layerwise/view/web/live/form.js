// What is asked for: the prompt and how to read it.

import { element, oneLine, shortened } from "../shared/text.js";

/**
 * The form; `asked()` is what it says, as the server takes it.
 *
 * `onRun`, `onStop` and `onModel(name)` are told of what the reader does.
 */
export function createLiveForm(choices, { onRun, onStop, onModel }) {
  const prompt = element("textarea", { attrs: { rows: "3", spellcheck: "false", placeholder: "The capital of Germany is" } });
  const answers = element("textarea", { attrs: { rows: "3", spellcheck: "false", placeholder: " Berlin", title: "Usually with a leading space" } });
  const model = liveSelect(choices.models);
  const lens = liveSelect(liveLenses(choices, model.value));
  const positions = liveSelect(["last", "all"]);
  const chat = element("input", { attrs: { type: "checkbox" } });
  const run = element("button", { class: "lw-live-run", text: "Run", attrs: { type: "submit", title: "Ctrl+Enter, or ⌘+Enter" } });
  const stop = element("button", { text: "Stop", attrs: { type: "button", disabled: true }, on: { click: onStop } });
  const form = element(
    "form",
    { class: "lw-live-form", attrs: { "aria-label": "Trace a prompt" } },
    liveField("prompt", "Prompt", prompt, "lw-field lw-live-prompt"),
    liveField("answers", "Answers to follow, one a line", answers, "lw-field lw-live-answers"),
    liveField("model", "Model", model),
    liveField("lens", "Lens", lens),
    liveField("positions", "Positions", positions),
    liveField("chat", "Chat template", chat, "lw-check"),
    element("div", { class: "lw-live-buttons" }, run, stop),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onRun();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!run.disabled) onRun();
    }
  });
  model.addEventListener("change", () => {
    const offered = liveLenses(choices, model.value);
    const chosen = offered.includes(lens.value) ? lens.value : offered[0];
    lens.replaceChildren(...liveSelect(offered).children);
    lens.value = chosen; // options that move from one chooser to another take with them which of them is chosen
    onModel(model.value);
  });

  return {
    element: form,
    asked: () => ({
      model: model.value,
      prompt: prompt.value,
      lens: lens.value,
      positions: positions.value,
      answer: answers.value.split("\n").filter((line) => line !== ""),
      chat: chat.checked,
    }),
    /** While something is computed it can be stopped, and nothing else can be begun. */
    setBusy(busy) {
      run.disabled = busy;
      model.disabled = busy;
      stop.disabled = !busy;
    },
    focus: () => prompt.focus(),
  };
}

/** The lenses that every model is read through, and those fitted for this one. */
export function liveLenses(choices, model) {
  return [...choices.lenses, ...(choices.own_lenses?.[model] ?? [])];
}

/** A `<select>` of texts. */
export function liveSelect(values) {
  const options = values.map((value) => element("option", { text: shortened(oneLine(value), 80), attrs: { value } }));
  return element("select", {}, options);
}

/** A control with its name, which `id` ties to it: a label around a chooser would be called after its options too. */
export function liveField(id, name, control, more = "lw-field") {
  control.setAttribute("id", `lw-live-${id}`);
  const label = element("label", { class: "lw-label", text: name, attrs: { for: `lw-live-${id}` } });
  return element("div", { class: more }, more === "lw-check" ? [control, label] : [label, control]);
}
