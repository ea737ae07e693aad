// Where the grid's cells lie: rows of layers, n at the top, and columns of positions.

/** The sizes and places of what is drawn for the chosen window, `width` pixels wide if the columns can fill them. */
export function gridGeometry(trace, state, width) {
  const layers = gridLayers(trace.nLayers, state.stride);
  const end = state.to === null ? trace.positions.length : Math.min(state.to + 1, trace.positions.length);
  const from = Math.min(state.from, end - 1);
  const columns = end - from;
  const left = 30 + 7 * String(trace.nLayers).length;
  const least = trace.kind === "difference" ? 112 : 68;
  const most = columns === 1 ? 480 : 200;
  const cellWidth = Math.max(least, Math.min(most, Math.floor((width - left - 1) / columns)));
  const cellHeight = 22;
  const foot = 38;
  return {
    layers,
    from,
    columns,
    left,
    foot,
    cellWidth,
    cellHeight,
    width: left + columns * cellWidth,
    height: layers.length * cellHeight + foot,
    rowOf: (layer) => layers.indexOf(layer),
    columnOf: (place) => (place >= from && place < end ? place - from : -1),
  };
}

/** The layers that are drawn, from the top: n, every `stride`-th below it, and 0. */
export function gridLayers(nLayers, stride) {
  const layers = [];
  for (let layer = nLayers; layer > 0; layer -= stride) layers.push(layer);
  return [...layers, 0];
}

/** What lies at a point of the viewport: `{layer, place}`, one of them null on the labels; null outside. */
export function gridAt(geometry, view, x, y) {
  const inLabels = x < geometry.left;
  const inFoot = y >= Math.min(view.height, geometry.height) - geometry.foot;
  const column = Math.floor((x - geometry.left + view.x) / geometry.cellWidth);
  const row = Math.floor((y + view.y) / geometry.cellHeight);
  const place = inLabels || column < 0 || column >= geometry.columns ? null : geometry.from + column;
  const layer = inFoot || row < 0 || row >= geometry.layers.length ? null : geometry.layers[row];
  return layer === null && place === null ? null : { layer, place };
}

/** The nearest drawn layer, for a state that was chosen with another stride. */
export function gridNearest(geometry, layer) {
  return geometry.layers.reduce((best, one) => (Math.abs(one - layer) < Math.abs(best - layer) ? one : best));
}
