// Light or dark: what the reader chose, else what the notebook or the system says; and the colours that follow.

import { element } from "./text.js";

/** The theme of a view. `colour(name)` is a CSS variable's value as canvases take it; `changed` is told of a switch. */
export function createTheme(view, wholePage, changed) {
  const probe = element("span", { attrs: { "aria-hidden": "true", hidden: true } });
  const asked = matchMedia("(prefers-color-scheme: dark)");
  let known = new Map();
  let chosen = "auto";
  const anew = () => {
    known = new Map();
    changed();
  };
  // Notebooks switch their theme by an attribute or a class of the body.
  const watch = new MutationObserver(anew);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  asked.addEventListener("change", anew);
  const theme = {
    choose(name) {
      if (name === chosen) return;
      chosen = name;
      known = new Map();
      if (name === "auto") view.removeAttribute("data-theme");
      else view.setAttribute("data-theme", name);
      // The page's own edge, and its scroll bars.
      if (wholePage) document.documentElement.style.colorScheme = name === "auto" ? "light dark" : name;
    },
    colour(name) {
      if (!known.has(name)) {
        if (probe.parentElement !== view) view.append(probe);
        probe.style.color = `var(--lw-${name})`;
        known.set(name, getComputedStyle(probe).color);
      }
      return known.get(name);
    },
    font: () => getComputedStyle(view).fontFamily,
    dark() {
      const [red, green, blue] = theme.colour("surface").match(/[\d.]+/g).map(Number);
      return red + green + blue < 384;
    },
    destroy() {
      watch.disconnect();
      asked.removeEventListener("change", anew);
    },
  };
  if (wholePage) document.documentElement.style.colorScheme = "light dark";
  return theme;
}
