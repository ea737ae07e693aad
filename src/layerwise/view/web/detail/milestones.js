// Milestones in words, and the layers at which they lie.

/**
 * The milestones that a trace reached, by layer: `[{name, title, layers}]`. `layers` has one entry for a trace, two
 * for a difference (null where that side does not reach it), each told as a layer of what is shown.
 */
export function reachedMilestones(trace) {
  const sides = trace.kind === "difference" ? trace.sides : [trace];
  const names = [...new Set(sides.flatMap((side) => Object.keys(side.milestones)))];
  const shown = (side, name) => {
    const layer = Number.isInteger(side.milestones[name]) ? side.milestones[name] : null;
    if (layer === null || side.nLayers === trace.nLayers) return layer;
    return Math.round((layer / side.nLayers) * trace.nLayers);
  };
  return names
    .map((name) => ({ name, title: milestoneTitle(name), layers: sides.map((side) => shown(side, name)) }))
    .filter(({ layers }) => layers.some((layer) => layer !== null))
    .toSorted((a, b) => milestoneStart(a) - milestoneStart(b));
}

/** What a milestone's name means; an unknown one is shown as it is. */
export function milestoneTitle(name) {
  const titles = new Map([
    ["settled_top1", "answer leads to the end"],
    ["first_top1", "answer leads first"],
    ["first_p50", "answer above 50 %"],
    ["first_p95", "answer above 95 %"],
    ["settled_kl_1bit", "within 1 bit of the output"],
    ["copy", "copies the prompt"],
    ["half_entropy", "entropy halved"],
  ]);
  return titles.get(name) ?? name.replaceAll("_", " ");
}

function milestoneStart({ layers }) {
  return Math.min(...layers.filter((layer) => layer !== null));
}
