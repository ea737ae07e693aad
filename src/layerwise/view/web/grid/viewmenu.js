// What of a trace is drawn and how: layer stride, position window, spelling variants, theme.

import { element } from "../shared/text.js";

/** A menu that folds out; it closes on Escape and when the reader goes on elsewhere. */
export function createMenu(title, ...children) {
  const body = element("div", { class: "lw-menu-body" }, ...children);
  const menu = element("details", { class: "lw-menu" }, element("summary", { text: title }), body);
  menu.addEventListener("toggle", () => {
    menu.classList.remove("lw-menu-end");
    const edge = menu.closest(".lw-view").getBoundingClientRect().right;
    menu.classList.toggle("lw-menu-end", body.getBoundingClientRect().right > edge);
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  return menu;
}

/** The menu “View”. */
export function createViewMenu(context) {
  const { state } = context;
  const stride = menuSelect([], (value) => state.set({ stride: Number(value) }));
  const theme = menuSelect([["auto", "as the system"], ["light", "light"], ["dark", "dark"]], (value) => state.set({ theme: value }));
  const variants = element("input", {
    attrs: { type: "checkbox" },
    on: { change: () => state.set({ variants: variants.checked }) },
  });
  const [from, to] = ["first", "last"].map((which) =>
    element("input", { attrs: { type: "number", step: "1", "aria-label": `${which} position shown` }, on: { change: choose } }),
  );
  const whole = element("button", { text: "all", attrs: { type: "button" }, on: { click: () => state.set({ from: 0, to: null }) } });
  function choose() {
    const { positions } = context.trace();
    const place = (input, fallback) => {
      if (input.value === "") return fallback;
      const at = positions.findIndex((position) => position >= Number(input.value));
      return at < 0 ? positions.length - 1 : at;
    };
    const [first, last] = [place(from, 0), place(to, positions.length - 1)];
    state.set({ from: Math.min(first, last), to: Math.max(first, last) === positions.length - 1 ? null : Math.max(first, last) });
  }
  const shown = element(
    "div",
    { class: "lw-field", attrs: { role: "group", "aria-label": "Positions shown" } },
    element("span", { class: "lw-label", text: "Positions" }),
    element("span", { class: "lw-window" }, from, "to", to, whole),
  );
  const menu = createMenu(
    "View",
    menuField("Layers", stride),
    shown,
    element("label", { class: "lw-check" }, variants, "Group spelling variants"),
    menuField("Theme", theme),
  );
  let strides = 0;
  return {
    element: menu,
    update() {
      const now = state.get();
      const { positions, nLayers } = context.trace();
      if (strides !== nLayers) {
        strides = nLayers;
        menuOptions(stride, menuStrides(nLayers));
      }
      if (![...stride.options].some(({ value }) => value === String(now.stride))) {
        stride.append(element("option", { text: `every ${now.stride}th`, attrs: { value: String(now.stride) } }));
      }
      stride.value = String(now.stride);
      theme.value = now.theme;
      variants.checked = now.variants;
      shown.hidden = positions.length < 2;
      from.value = String(positions[now.from]);
      to.value = String(positions[now.to ?? positions.length - 1]);
      for (const input of [from, to]) {
        input.min = String(positions[0]);
        input.max = String(positions.at(-1));
      }
    },
  };
}

/** `[[stride, name]]`, up to a handful of drawn layers. */
function menuStrides(nLayers) {
  const named = [[1, "every layer"], [2, "every 2nd"], [3, "every 3rd"], [4, "every 4th"], [5, "every 5th"], [8, "every 8th"], [10, "every 10th"]];
  return named.filter(([stride]) => stride === 1 || nLayers / stride >= 3);
}

function menuField(label, control) {
  return element("label", { class: "lw-field" }, element("span", { class: "lw-label", text: label }), control);
}

function menuSelect(pairs, chosen) {
  const select = element("select", { on: { change: () => chosen(select.value) } });
  menuOptions(select, pairs);
  return select;
}

function menuOptions(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { text, attrs: { value: String(value) } })));
}
