// A corrected text keeps the times of the words that stay; new words share the time of those that they replace.

const LARGEST_TABLE = 4e6;

/** Words of `text` with times and confidences. A word that a person wrote is sure. */
export function retime(words, text, startS, endS) {
  const texts = text.split(/\s+/).filter(Boolean);
  const result = [];
  let [i, j] = [0, 0];
  for (const [a, b] of [...matches(words.map((word) => word.word), texts), [words.length, texts.length]]) {
    const from = result.at(-1)?.end_s ?? startS;
    const old = words.slice(i, a);
    const span = old.length ? [old[0].start_s, old.at(-1).end_s] : [from, Math.max(from, words[a]?.start_s ?? endS)];
    result.push(...spread(texts.slice(j, b), ...span));
    if (a < words.length) result.push(words[a]);
    [i, j] = [a + 1, b + 1];
  }
  return result;
}

function spread(texts, startS, endS) {
  const letters = texts.reduce((sum, text) => sum + text.length, 0);
  let at = startS;
  return texts.map((word) => {
    const start_s = at;
    at += ((endS - startS) * word.length) / letters;
    return { word, start_s, end_s: at, confidence: 1 };
  });
}

/** Pairs of positions of equal words in both, in order: the longest common subsequence. */
function matches(before, after) {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  const most = Math.min(before.length, after.length) - head;
  while (tail < most && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const n = before.length - head - tail;
  const m = after.length - head - tail;
  const pairs = Array.from({ length: head }, (_, k) => [k, k]);
  if (n * m <= LARGEST_TABLE) pairs.push(...middle(before.slice(head, head + n), after.slice(head, head + m), head));
  for (let k = tail; k > 0; k--) pairs.push([before.length - k, after.length - k]);
  return pairs;
}

function middle(before, after, offset) {
  const [n, m] = [before.length, after.length];
  const common = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1)); // of the ends from i and j on
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      const equal = before[i] === after[j];
      common[i][j] = equal ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < n && j < m; ) {
    if (before[i] === after[j]) pairs.push([offset + i++, offset + j++]);
    else if (common[i + 1][j] >= common[i][j + 1]) i++;
    else j++;
  }
  return pairs;
}
