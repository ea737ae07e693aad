// Which tokens of two sequences belong together.

/**
 * [{first, second, same}]: indices of tokens that belong together, ascending on both sides.
 *
 * Tokens with equal texts are aligned: the common beginning and end, between them a longest common subsequence. As
 * many tokens in place of as many others, between aligned ones or before the first, are paired in their order (a
 * subject replaced by another); so are the last tokens of the two prompts, where neither has a partner yet. `same`
 * says whether the texts are equal.
 */
export function alignTokens(first, second) {
  const firstTexts = first.tokens.map((token) => token.text);
  const secondTexts = second.tokens.map((token) => token.text);
  const [firstEnd, secondEnd] = [alignPromptEnd(first), alignPromptEnd(second)];
  const equal = alignTexts(firstTexts, secondTexts);
  const pairs = [];
  let [i, j] = [-1, -1];
  for (const [nextI, nextJ] of equal) {
    if (nextI - i === nextJ - j && nextI <= firstEnd && nextJ <= secondEnd) {
      for (let k = 1; k < nextI - i; k++) pairs.push({ first: i + k, second: j + k, same: false });
    }
    pairs.push({ first: nextI, second: nextJ, same: true });
    [i, j] = [nextI, nextJ];
  }
  return alignEnds(pairs, firstEnd, secondEnd);
}

/** Index pairs [i, j] of equal texts, ascending on both sides, as many as there can be. */
export function alignTexts(first, second) {
  const shorter = Math.min(first.length, second.length);
  let start = 0;
  while (start < shorter && first[start] === second[start]) start += 1;
  let end = 0;
  while (end < shorter - start && first[first.length - 1 - end] === second[second.length - 1 - end]) end += 1;
  const pairs = Array.from({ length: start }, (_, k) => [k, k]);
  const middle = alignLongest(first.slice(start, first.length - end), second.slice(start, second.length - end));
  for (const [i, j] of middle) pairs.push([start + i, start + j]);
  for (let k = end; k > 0; k--) pairs.push([first.length - k, second.length - k]);
  return pairs;
}

// The pairs of a longest common subsequence; of several, the one whose pairs come first.
function alignLongest(first, second) {
  const width = second.length + 1;
  const longest = new Uint32Array((first.length + 1) * width); // of what is left from (i, j) on
  for (let i = first.length - 1; i >= 0; i--) {
    for (let j = second.length - 1; j >= 0; j--) {
      const at = i * width + j;
      longest[at] =
        first[i] === second[j] ? longest[at + width + 1] + 1 : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < first.length && j < second.length) {
    if (first[i] === second[j]) pairs.push([i++, j++]);
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return pairs;
}

function alignPromptEnd(trace) {
  return trace.tokens.length - trace.generated - 1;
}

function alignEnds(pairs, firstEnd, secondEnd) {
  const free = pairs.every((pair) => pair.first !== firstEnd && pair.second !== secondEnd);
  const ordered = pairs.every((pair) => pair.first < firstEnd === pair.second < secondEnd);
  if (!free || !ordered || firstEnd < 0 || secondEnd < 0) return pairs;
  const ends = { first: firstEnd, second: secondEnd, same: false };
  const before = pairs.filter((pair) => pair.first < firstEnd);
  return [...before, ends, ...pairs.slice(before.length)];
}

/**
 * [{first, second, same}]: places in the two traces' `positions` that are to be compared.
 *
 * Where nothing was read after aligned tokens, the predictions after the two prompts are compared, if both were
 * read.
 */
export function alignPlaces(first, second) {
  const firstPlaces = new Map(first.positions.map((position, place) => [position, place]));
  const secondPlaces = new Map(second.positions.map((position, place) => [position, place]));
  const read = (pair) => firstPlaces.has(pair.first) && secondPlaces.has(pair.second);
  const toPlaces = (pair) => ({ ...pair, first: firstPlaces.get(pair.first), second: secondPlaces.get(pair.second) });
  const places = alignTokens(first, second).filter(read).map(toPlaces);
  if (places.length) return places;
  const ends = { first: alignPromptEnd(first), second: alignPromptEnd(second) };
  ends.same = first.tokens[ends.first]?.text === second.tokens[ends.second]?.text;
  return read(ends) ? [toPlaces(ends)] : [];
}
