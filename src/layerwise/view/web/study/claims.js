// Claims with their verdicts: a word and a mark, the estimate with its interval, and where the claim puts it.

import { svgElement } from "../shared/svg.js";
import { element } from "../shared/text.js";
import { studyCount, studyDepth, studyModelClass, studyName, studyNumber, studyScale } from "./marks.js";

/** The claims of a study, each with its verdict for every model; null without any. */
export function studyClaims(data) {
  const ids = [...new Set(data.claims.map((claim) => claim.id))];
  if (!ids.length) return null;
  const cards = ids.map((id) => studyClaim(data, data.claims.filter((claim) => claim.id === id)));
  return element("section", { class: "lw-study-part", attrs: { "aria-label": "Claims" } },
    element("h2", { text: ids.length === 1 ? "The claim" : `The ${ids.length} claims, and what was found` }),
    element("p", { class: "lw-study-hint", text: "Written down before the run, each with the values that would bear it out (shaded). The bar is the 95 % interval over items." }),
    element("ul", { class: "lw-study-claims" }, cards));
}

function studyClaim(data, judged) {
  const [first] = judged;
  const domain = studyClaimDomain(judged);
  const rows = judged.map((claim) => studyVerdict(data, claim, domain));
  return element("li", { class: "lw-study-claim" },
    element("h3", {}, element("bdi", { text: studyName(first.sentence, 400) })),
    element("ul", { class: "lw-study-verdicts" }, rows),
    element("p", { class: "lw-study-hint" },
      `Estimated: ${studyName(first.estimated, 300).replace(/^./, (letter) => letter.toLowerCase())} (${first.over ?? ""}). `,
      `Claimed: ${studyName(first.claimed)}.`));
}

function studyVerdict(data, claim, domain) {
  const { mark, kind } = studyVerdictMark(claim.verdict);
  const judged = claim.value !== null;
  const shown = claim.in_depths ? studyDepth : studyNumber;
  const numbers = judged
    ? element("span", { class: "lw-study-numbers" },
        element("b", { text: shown(claim.value) }),
        ` [${shown(claim.low)}, ${shown(claim.high)}] `,
        element("span", { class: "lw-study-dim", text: studyCount(claim.n, "item") }))
    : element("span", { class: "lw-study-numbers lw-study-dim", text: studyName(claim.because, 200) });
  return element("li", { class: `lw-study-verdict ${studyModelClass(data.models.indexOf(claim.model))}` },
    element("span", { class: `lw-study-mark lw-study-${kind}`, attrs: { title: judged ? studyName(claim.because, 200) : null } },
      element("span", { class: "lw-study-glyph", text: mark, attrs: { "aria-hidden": "true" } }), claim.verdict),
    element("span", { class: "lw-study-model" }, element("bdi", { text: studyName(claim.model) })),
    numbers,
    judged ? studyClaimBar(claim, domain) : null);
}

/** A verdict's mark, which differs in shape and not in colour alone. */
function studyVerdictMark(verdict) {
  const known = { supported: { mark: "✓", kind: "yes" }, "not supported": { mark: "✕", kind: "no" }, inconclusive: { mark: "≈", kind: "open" } };
  return Object.hasOwn(known, verdict) ? known[verdict] : { mark: "?", kind: "none" };
}

function studyClaimDomain(judged) {
  const ends = judged.flatMap(({ low, high, value, region }) => [low, high, value, ...(region ?? [])]).filter((end) => end !== null && end !== undefined);
  if (!ends.length) return [0, 1];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const margin = 0.12 * (high - low || 1);
  return [low - margin, high + margin];
}

function studyClaimBar(claim, domain) {
  const [width, height, middle] = [180, 22, 11];
  const x = studyScale(domain, [3, width - 3]);
  const [from, to] = claim.region ?? [null, null];
  const [start, end] = [from === null ? 0 : x(from), to === null ? width : x(to)];
  return svgElement("svg", { class: "lw-study-bar", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svgElement("rect", { class: "lw-study-track", x: 0, y: middle - 1, width, height: 2 }),
    claim.region ? svgElement("rect", { class: "lw-study-region", x: start, y: 1, width: Math.max(1, end - start), height: height - 2, rx: 2 }) : null,
    svgElement("line", { class: "lw-study-whisker", x1: x(claim.low), x2: x(claim.high), y1: middle, y2: middle }),
    svgElement("circle", { class: "lw-study-value", cx: x(claim.value), cy: middle, r: 4.5 }));
}
