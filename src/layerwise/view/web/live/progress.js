// How far the work is.

import { element, oneLine, shortened } from "../shared/text.js";

/** How far the work is: words, and a bar where the end is known. */
export function createLiveProgress() {
  const words = element("span", { attrs: { role: "status" } });
  const bar = element("progress", { attrs: { "aria-label": "Progress" } });
  const line = element("div", { class: "lw-live-progress" }, bar, words);
  line.hidden = true;
  return {
    element: line,
    show([what, done, total]) {
      line.hidden = false;
      const said = shortened(oneLine(what), 80);
      if (words.textContent !== said) words.textContent = said; // announced only where it changed
      if (total === null) bar.removeAttribute("value");
      else {
        bar.max = total;
        bar.value = done;
      }
    },
    clear() {
      line.hidden = true;
      words.textContent = "";
    },
  };
}
