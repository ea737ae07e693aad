// What was before: steps back and forth.

/** `{note(before, key), undo(now), redo(now), canUndo(), canRedo()}`; steps of one key that follow one another are one. */
export function createUndo(limit = 200) {
  const [past, future] = [[], []];
  let last = null;
  const step = (from, to) => (now) => {
    if (!from.length) return null;
    last = null;
    to.push(now);
    return from.pop();
  };
  return {
    note(before, key = null) {
      if (key === null || key !== last) past.push(before);
      if (past.length > limit) past.shift();
      future.length = 0;
      last = key;
    },
    undo: step(past, future),
    redo: step(future, past),
    canUndo: () => past.length > 0,
    canRedo: () => future.length > 0,
  };
}
