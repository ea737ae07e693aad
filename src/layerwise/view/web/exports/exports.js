// What can be taken along: the chosen window as a picture or a table, and what makes the trace again.

import { gridCsv } from "./csv.js";
import { picturePng, pictureSvg } from "./picture.js";
import { element } from "../shared/text.js";
import { createMenu } from "../grid/viewmenu.js";

/** The menu “Export”: `element` and `update()`. */
export function createExports(context) {
  const said = element("p", { class: "lw-exports-said", attrs: { role: "status" } });
  const text = element("textarea", {
    class: "lw-exports-text",
    attrs: { readonly: true, rows: "5", "aria-label": "Text to copy", spellcheck: "false" },
  });
  text.hidden = true;
  const tell = (sentence) => {
    said.textContent = sentence;
  };
  const button = (name, act) =>
    element("button", {
      text: name,
      attrs: { type: "button" },
      on: {
        async click() {
          text.hidden = true;
          try {
            tell(await act());
          } catch (error) {
            tell(`This did not work: ${error.message}`);
          }
        },
      },
    });
  const copy = (recipe) => exportCopy(context.trace().recipes[recipe], text);
  const python = button("Copy as Python", () => copy("python"));
  const cli = button("Copy as command", () => copy("cli"));
  const buttons = [
    button("Picture (PNG)", () => exportPng(context)),
    button("Drawing (SVG)", () => exportSvg(context)),
    button("Table (CSV)", () => exportCsv(context)),
    python,
    cli,
  ];
  return {
    element: createMenu("Export", element("div", { class: "lw-exports" }, buttons), text, said),
    update() {
      const recipes = context.trace()?.recipes ?? {};
      for (const [one, recipe] of [
        [python, recipes.python],
        [cli, recipes.cli],
      ]) {
        one.disabled = !recipe;
        one.title = recipe ? "" : "Not known for what is shown";
      }
    },
  };
}

/** Saves the chosen window as a PNG; returns a sentence about it. */
export async function exportPng(context) {
  const { blob, scale } = await picturePng(context);
  const name = exportSave(blob, exportName(context.trace(), "png"));
  const coarse =
    scale < 1
      ? ` It is drawn at ${Math.round(100 * scale)} % of its size: a smaller window is sharper, and so is the SVG.`
      : "";
  return `Saved as ${name}.${coarse}`;
}

/** Saves the chosen window as an SVG; returns a sentence about it. */
export function exportSvg(context) {
  const blob = new Blob([pictureSvg(context)], { type: "image/svg+xml" });
  return `Saved as ${exportSave(blob, exportName(context.trace(), "svg"))}.`;
}

/** Saves the chosen window's numbers as CSV; returns a sentence about it. */
export function exportCsv(context) {
  const blob = new Blob([gridCsv(context.trace(), context.state.get())], { type: "text/csv" });
  return `Saved as ${exportSave(blob, exportName(context.trace(), "csv"))}.`;
}

/** A file name of plain characters, whatever the model is called. */
export function exportName(trace, suffix) {
  const plain = `${trace.model.name ?? "trace"} ${trace.lens}`
    .slice(0, 400)
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return `layerwise-${plain.slice(0, 60) || "trace"}.${suffix}`;
}

function exportSave(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = element("a", { attrs: { href: address, download: name } });
  document.body.append(link);
  link.click();
  link.remove();
  // The download begins after this turn, and needs the address until then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return name;
}

/** Puts text on the clipboard; where a page may not, shows it in `field`, selected. Returns a sentence about it. */
export async function exportCopy(recipe, field) {
  try {
    await navigator.clipboard.writeText(recipe);
    return "Copied.";
  } catch {
    field.value = recipe;
    field.hidden = false;
    field.focus();
    field.select();
    return "This page may not use the clipboard. The text is selected: copy it from here.";
  }
}
