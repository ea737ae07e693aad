// What the parts of the dataset view share: names, colours of models, estimates in words, scales.

import { oneLine, shortened } from "../shared/text.js";

/** The class that gives a model's marks their colour; models beyond the eighth share colours with the first. */
export function studyModelClass(index) {
  return `lw-study-m${Math.max(0, index) % 8}`;
}

/** A name or prompt on one line, made visible and at most `limit` characters long. */
export function studyName(text, limit = 60) {
  return shortened(oneLine(String(text ?? "").slice(0, 4 * limit)), limit);
}

/** A depth as a reader says it; beyond 1 the milestone is never reached. */
export function studyDepth(value) {
  if (value === null || value === undefined) return "–";
  return value > 1 ? "never" : value.toFixed(2);
}

/** `0.83 [0.78, 0.86]`, each number as `show` says it. */
export function studyInterval(found, show) {
  return found ? `${show(found.value)} [${show(found.low)}, ${show(found.high)}]` : "–";
}

/** A share in whole percent. */
export function studyShare(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.005) return "<1 %";
  return value < 1 && value > 0.995 ? ">99 %" : `${Math.round(100 * value)} %`;
}

/** A number of a claim, with as many digits as tell it from its neighbours. */
export function studyNumber(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const shown = size >= 100 ? size.toFixed(0) : size >= 10 ? size.toFixed(1) : size >= 0.1 || size === 0 ? size.toFixed(2) : size.toFixed(3);
  return `${value < 0 && Number(shown) !== 0 ? "−" : ""}${shown}`;
}

/** `1 question`, `1,698 questions`. */
export function studyCount(n, noun) {
  return `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;
}

/** From values in `domain` to pixels in `range`, values outside held at the ends. */
export function studyScale([low, high], [start, end]) {
  const span = high - low || 1;
  return (value) => start + (end - start) * Math.max(0, Math.min(1, (value - low) / span));
}
