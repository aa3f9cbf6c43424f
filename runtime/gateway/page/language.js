// The rule language as an editor needs it: words to colour, and what may come next.

import * as metrics from "./metrics.js";

const WORDS = new Set(
  (
    "and or not all any crosses above below changed by in held for of last bars then within first time today re-arms when enters leaves during " +
    "premarket market postmarket volume on watchlist cooldown once per bar abs min max"
  ).split(" "),
);
const PIECE =
  /(#[^\n]*)|([a-z][a-z0-9_]*(?:\.[0-9][a-z0-9_.]*)?(?:-[a-z]+)?)|(\$?\d+(?:\.\d+)?(?:[kKMB]|ms|s|m|h|d|%|x)?\b%?)|(\s+)|(.)/giy;

/** The text in pieces: [kind, text, from], kind being comment, metric, word, number or empty. */
export function pieces(text) {
  const found = [];
  PIECE.lastIndex = 0;
  for (let match = PIECE.exec(text); match; match = PIECE.exec(text)) {
    const [whole, comment, name, number] = match;
    const kind = comment
      ? "comment"
      : number
        ? "number"
        : name
          ? WORDS.has(name.toLowerCase())
            ? "word"
            : isMetric(name)
              ? "metric"
              : ""
          : "";
    found.push([kind, whole, match.index]);
  }
  return found;
}

const isMetric = (name) => metrics.all().some((one) => one.name === name.toLowerCase());

const PHRASES = [
  ["crosses above ", "from below to above"],
  ["crosses below ", "from above to below"],
  ["changed by >= 3% in 5m", "against itself"],
  ["held for 20s", "without a break"],
  ["and ", "both"],
  ["or ", "either"],
  ["not ", "the opposite"],
  ["then ", "first one, then the other"],
  ["within 2m", "of then"],
  ["first time today (", "once a day"],
  ["3 of last 5 bars (", "candles"],
  ["re-arms below ", "when it may fire again"],
  ["enters ", "a toplist"],
  ["leaves ", "a toplist"],
  ["in watchlist ", "only its symbols"],
  ["cooldown 5m", "silent after an alert"],
  ["once per 5m bar", "at most one a candle"],
  ["volume >= 100k", "of the day, before it counts"],
  ["during market", "sessions in which it counts"],
  ["abs(", "without its sign"],
  ["min(", ""],
  ["max(", ""],
];

/** What may be meant at a place: {from, to, items: [{text, hint, kind}]}; empty where nothing was begun. */
export function completions(text, at, lists = []) {
  const before = text.slice(0, at);
  const begun = /([a-z_][a-z0-9_.]*)$/i.exec(before)?.[1] || "";
  const from = at - begun.length;
  const wanted = begun.toLowerCase();
  const last = /(\w+)\s+$/.exec(before.slice(0, from))?.[1]?.toLowerCase();
  if (
    last === "enters" ||
    last === "leaves" ||
    (last === "in" && lists.length && /\bin\s+$/.test(before.slice(0, from)))
  ) {
    const found = lists.filter((one) => one.id.startsWith(wanted)).slice(0, 14);
    return { from, to: at, items: found.map((one) => ({ text: one.id, hint: one.name || "", kind: "list" })) };
  }
  if (!begun) return { from, to: at, items: [] };
  const phrases = PHRASES.filter(([phrase]) => phrase.startsWith(wanted) && phrase.trim() !== wanted)
    .slice(0, 5)
    .map(([phrase, hint]) => ({ text: phrase, hint, kind: "word" }));
  const named = metrics
    .matching(wanted, 14)
    .filter((one) => one.name !== wanted)
    .map((one) => ({ text: one.name, hint: [one.title, one.unit].filter(Boolean).join(", "), kind: "metric" }));
  return { from, to: at, items: [...phrases.slice(0, named.length > 8 ? 3 : 5), ...named] };
}
