// What is patched: two prompts, the answers that are followed, the model and the lens.

import { liveField, liveLenses, liveSelect } from "./form.js";
import { element } from "../shared/text.js";

/** The form of two prompts: `{element, fill(asked), asked()}`; `onShow()` is told when they are to be shown. */
export function createPatchForm(choices, onShow) {
  const area = (placeholder) => element("textarea", { attrs: { rows: "2", spellcheck: "false", placeholder } });
  const prompt = area("The capital of France is");
  const source = area("The capital of Germany is");
  const answers = area(" Paris");
  const model = liveSelect(choices.models);
  const lens = liveSelect(liveLenses(choices, model.value));
  const chat = element("input", { attrs: { type: "checkbox" } });
  const show = element("button", { class: "lw-live-run", text: "Show both", attrs: { type: "submit", title: "Ctrl+Enter, or ⌘+Enter" } });
  const form = element(
    "form",
    { class: "lw-live-form", attrs: { "aria-label": "Two prompts" } },
    liveField("patched", "Prompt that is patched", prompt, "lw-field lw-live-answers"),
    liveField("source", "Second prompt, whose values are taken", source, "lw-field lw-live-answers"),
    liveField("followed", "Answers of one token to follow, one a line", answers, "lw-field lw-live-answers"),
    liveField("patch-model", "Model", model),
    liveField("patch-lens", "Lens", lens),
    liveField("patch-chat", "Chat template", chat, "lw-check"),
    show,
  );
  const offer = (chosen) => {
    const offered = liveLenses(choices, model.value);
    lens.replaceChildren(...liveSelect(offered).children);
    lens.value = offered.includes(chosen) ? chosen : offered[0];
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onShow();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    onShow();
  });
  model.addEventListener("change", () => offer(lens.value));
  return {
    element: form,
    fill(asked) {
      prompt.value = asked.prompt;
      source.value = asked.source;
      answers.value = asked.answers.join("\n");
      if (choices.models.includes(asked.model)) model.value = asked.model;
      offer(asked.lens);
      chat.checked = asked.chat;
    },
    asked: () => ({
      model: model.value,
      lens: lens.value,
      prompt: prompt.value,
      source: source.value,
      answers: answers.value.split("\n").filter((line) => line !== ""),
      chat: chat.checked,
    }),
  };
}
