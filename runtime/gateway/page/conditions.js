// What keeps a symbol from being an ordinary row: halted, stale, warming up, short sales restricted, news.

import { ask } from "./session.js";
import { Signal } from "./signal.js";

const EVERY_MS = 600; // one symbol at a time, only those that are seen
const AGAIN_MS = 20_000;
const NAMES = "price,change_pct_5m,minutes_since_news";

const known = new Map(); // symbol -> {halted, stale, warming, news, askedAt}
const wanted = new Set();
const state = { isOn: true, isAsking: false };

export const changed = new Signal();

/** What is known of a symbol; asks for it when that is old. `row` is what the list itself says. */
export function of(symbol, row = {}) {
  const found = known.get(symbol);
  if (state.isOn && (!found || Date.now() - found.askedAt > AGAIN_MS)) wanted.add(symbol);
  const told = row.metadata || {};
  const halted = told.halted ?? row.halted ?? found?.halted ?? false;
  return {
    halted: Boolean(halted),
    ssr: Boolean(told.ssr ?? row.ssr),
    stale: Boolean(row.stale ?? found?.stale),
    warming: Boolean(row.warming ?? found?.warming),
    news: found?.news ?? told.minutes_since_news ?? null,
  };
}

/** Words for a screen reader and a hint. */
export function inWords(found) {
  const words = [];
  if (found.halted) words.push("halted");
  if (found.ssr) words.push("short sales restricted");
  if (found.stale) words.push("stale: no print for longer than expected");
  if (found.warming) words.push("warming up: history is short");
  if (found.news !== null && found.news < 1_440) words.push(`news ${Math.round(found.news)} minutes ago`);
  return words.join("; ");
}

/** The same in a few letters. */
export const mark = (found) =>
  [
    found.halted ? "HALT" : "",
    found.ssr ? "S" : "",
    found.stale ? "old" : "",
    found.warming ? "warm" : "",
    found.news !== null && found.news < 1_440 ? "N" : "",
  ]
    .filter(Boolean)
    .join(" ");

async function next() {
  if (!state.isOn || state.isAsking || !wanted.size || document.hidden) return;
  const symbol = wanted.values().next().value;
  wanted.delete(symbol);
  state.isAsking = true;
  try {
    const told = await ask("GET", `/symbols/${encodeURIComponent(symbol)}/metrics?names=${NAMES}`);
    const reasons = Object.values(told.missing || {}).join(" ");
    known.set(symbol, {
      halted: told.halted ?? /halted/.test(reasons),
      stale: told.stale ?? /stale/.test(reasons),
      warming: /warming/.test(told.missing?.change_pct_5m || ""),
      news: told.metrics?.minutes_since_news ?? null,
      askedAt: Date.now(),
    });
    changed.tell(symbol);
  } catch (error) {
    known.set(symbol, { ...known.get(symbol), askedAt: Date.now() });
    if (error.isUnknown) state.isOn = false;
  } finally {
    state.isAsking = false;
  }
}

setInterval(next, EVERY_MS);
