// The trust badge: how far the numbers that are shown were checked, in short and on demand in full.

import { element, oneLine, shortened } from "../shared/text.js";

/** The badge: `element` and `update()`. A line of words; opened, its sentences, figures and versions. */
export function createBadge(context) {
  const summary = element("summary", { class: "lw-badge-summary" });
  const body = element("div", { class: "lw-badge-body" });
  const warnings = element("ul", { class: "lw-badge-warnings", attrs: { "aria-label": "Warnings and notes" } });
  const details = element("details", { class: "lw-badge" }, summary, body);
  const made = element("div", { class: "lw-badge-frame" }, details, warnings);
  let known = null;
  return {
    element: made,
    update() {
      const trace = context.trace();
      if (!trace || trace === known) return;
      known = trace;
      const sides = trace.kind === "difference" ? trace.sides : [trace];
      details.dataset.level = sides.every(badgeIsGood) ? "good" : "stated";
      summary.replaceChildren(...badgeSummary(sides));
      body.replaceChildren(...badgeBody(trace, sides));
      const notes = trace.notes ?? [];
      warnings.replaceChildren(
        ...trace.warnings.map((sentence) =>
          element("li", { class: "lw-badge-warning", text: badgeLine(sentence, 600) }),
        ),
        ...notes.map((sentence) => element("li", { text: badgeLine(sentence, 600) })),
      );
      warnings.hidden = !warnings.children.length;
    },
  };
}

function badgeIsGood(side) {
  return side.trust?.level === "good";
}

function badgeSummary(sides) {
  const good = sides.every(badgeIsGood);
  const parts = [
    badgeBoth(sides, (side) => `${side.lens} lens`),
    badgeBoth(sides, (side) => side.model.dtype ?? "dtype unknown"),
  ];
  parts.push(badgeBoth(sides, badgeIdentity));
  if (sides.some((side) => side.edits?.length)) parts.push(badgeBoth(sides, badgeEdits));
  return [
    element("span", { class: "lw-badge-sign", text: good ? "✓" : "!", attrs: { "aria-hidden": "true" } }),
    element("strong", {
      text: good ? "Checked" : sides.every((side) => side.checks) ? "Checked, with reservations" : "Not all checked",
    }),
    ...parts.map((part) => element("span", { class: "lw-badge-part", text: part })),
  ];
}

function badgeBoth(sides, said) {
  return [...new Set(sides.map((side) => badgeLine(said(side), 60)))].join(" → ");
}

function badgeEdits({ edits }) {
  return edits?.length ? `edited: ${edits.join("; ")}` : "not edited";
}

function badgeIdentity({ checks }) {
  if (!badgeIsNumber(checks?.identity_error)) return "identity not stored";
  return `identity ${badgeNumber(checks.identity_error)} of ${badgeNumber(checks.identity_limit)} allowed`;
}

function badgeBody(trace, sides) {
  const sentences = trace.trust?.sentences ?? ["What was checked of this trace is not stored with it."];
  const versions = Object.entries(trace.versions).map(([name, version]) => `${name} ${version}`);
  const rows = badgeFigures()
    .map(([name, read]) => [name, sides.map(read)])
    .filter(([, values]) => values.some((value) => value !== null))
    .map(([name, values]) => {
      const shown = [...new Set(values.map((value) => value ?? "–"))].map((value) => badgeLine(value, 120)).join(" → ");
      return element("tr", {}, element("th", { text: name, attrs: { scope: "row" } }), element("td", { text: shown }));
    });
  return [
    element(
      "ul",
      {},
      sentences.map((sentence) => element("li", { text: badgeLine(sentence, 600) })),
    ),
    element("table", {}, element("tbody", {}, rows)),
    versions.length ? element("p", { class: "lw-badge-versions", text: badgeLine(versions.join(", "), 400) }) : "",
  ];
}

// [name, what reads it from a trace: text, or null where there is none]
function badgeFigures() {
  const check =
    (name) =>
    ({ checks }) =>
      badgeIsNumber(checks?.[name]) ? badgeNumber(checks[name]) : null;
  const model = (name) => (side) => side.model[name] ?? null;
  return [
    ["model", model("name")],
    ["revision", model("revision")],
    ["lens", (side) => side.lens],
    ["edits", ({ edits }) => (edits?.length ? edits.join("; ") : null)],
    ["dtype", model("dtype")],
    ["device", model("device")],
    ["largest error in log-probability at the last layer", check("identity_error")],
    ["its limit", check("identity_limit")],
    ["against the CPU", check("device_error")],
    ["drift of probabilities from float32", check("drift_variation")],
    ["drift of entropy from float32, bits", check("drift_entropy_bits")],
    ["layers whose likeliest token drifts", check("drift_tops")],
    ["checked on", (side) => side.checks?.covered_by ?? null],
  ];
}

function badgeIsNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function badgeNumber(value) {
  if (!badgeIsNumber(value)) return "–";
  if (value === 0 || (Number.isInteger(value) && value < 1e6)) return String(value);
  return Math.abs(value) >= 0.01 ? String(Number(value.toPrecision(2))) : value.toExponential(1).replace("-", "−");
}

function badgeLine(text, limit) {
  return shortened(oneLine(String(text).slice(0, 2 * limit)), limit);
}
