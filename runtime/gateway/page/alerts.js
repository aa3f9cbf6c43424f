// The alerts that were heard: newest first, amendments joined to what they amend, repeats counted.

import { Signal } from "./signal.js";
import { ask } from "./session.js";
import * as socket from "./socket.js";
import * as clock from "./clock.js";
import { msOf, dayOf } from "./format.js";

const HELD_MAX = 3_000;
const SEEN_MAX = 10_000;
const TODAY_MAX = 20_000; // pairs of a rule and a symbol
const HISTORY = 200;
const REPEAT_MS = 60_000; // the same rule on the same symbol again within so long is one row

const state = { entries: [], byId: new Map(), newestOf: new Map(), today: new Map(), seen: new Set(), isLoaded: false };

/** Told with (entry, isLate, isHistory) of every alert. */
export const heard = new Signal();
export const gap = new Signal();

/** Entries, newest first: {key, alert, first, count, ms, changes, isAcknowledged} or {key, gap}. */
export const entries = () => state.entries;
export const isLoaded = () => state.isLoaded;

/** What the server holds of the past, then live from there. */
export async function load() {
  try {
    const told = await ask("GET", `/alerts?limit=${HISTORY}`);
    for (const alert of [...told.alerts].reverse()) take(alert, false, true);
    state.isLoaded = true;
    return Math.max(0, ...told.alerts.map((alert) => alert.seq || 0));
  } catch (error) {
    if (error.status === 401) throw error;
    return null;
  }
}

export const keyOf = (alert) => `${alert.rule_id} ${alert.symbol}`;

function take(alert, isLate, isHistory = false) {
  if (alert.seq !== undefined && state.seen.has(alert.seq)) return;
  if (alert.seq !== undefined) state.seen.add(alert.seq);
  if (state.seen.size > SEEN_MAX) state.seen.delete(state.seen.values().next().value);
  const ms = msOf(alert.timestamp);
  clock.note(ms);
  const known = state.byId.get(alert.id);
  const entry = known && alert.kind !== "fired" ? amended(known, alert) : added(alert, ms, isLate);
  heard.tell(entry, isLate, isHistory);
}

/** What becomes of an alert that is shown: it stays in its place and says so. */
function amended(entry, alert) {
  entry.changes.push(alert);
  if (entry.alert.kind !== "withdrawn")
    entry.alert = { ...entry.alert, ...alert, explain: alert.explain || entry.alert.explain, firstMs: entry.ms };
  return entry;
}

function added(alert, ms, isLate) {
  const key = keyOf(alert);
  const day = `${dayOf(ms)} ${key}`;
  if (alert.kind === "fired") state.today.set(day, (state.today.get(day) || 0) + 1);
  if (state.today.size > TODAY_MAX) state.today.delete(state.today.keys().next().value);
  const before = state.newestOf.get(key);
  if (
    before &&
    alert.kind === "fired" &&
    before.alert.kind === "fired" &&
    ms - before.ms < REPEAT_MS &&
    ms >= before.ms
  ) {
    state.entries.splice(state.entries.indexOf(before), 1);
    Object.assign(before, {
      alert,
      ms,
      count: before.count + 1,
      today: state.today.get(day),
      isAcknowledged: false,
      isLate,
    });
    before.earlier.push(alert.timestamp);
    return placed(before);
  }
  const entry = {
    key: `${alert.seq ?? alert.id}`,
    alert,
    ms,
    count: 1,
    today: state.today.get(day) || 1,
    changes: [],
    earlier: [alert.timestamp],
    isAcknowledged: false,
    isLate,
  };
  state.newestOf.set(key, entry);
  return placed(entry);
}

function placed(entry) {
  state.byId.set(entry.alert.id, entry);
  state.entries.unshift(entry);
  if (state.entries.length > HELD_MAX) {
    const gone = state.entries.pop();
    if (gone.alert) {
      state.byId.delete(gone.alert.id);
      if (state.newestOf.get(keyOf(gone.alert)) === gone) state.newestOf.delete(keyOf(gone.alert));
    }
  }
  return entry;
}

/** Numbers that the gateway no longer holds: shown where they are missing, read from history where there is one. */
function missed({ from, to }) {
  const entry = { key: `gap-${from}-${to}`, gap: { from, to }, ms: clock.now() };
  state.entries.unshift(entry);
  gap.tell(entry);
}

export function acknowledge(entry) {
  entry.isAcknowledged = !entry.isAcknowledged;
}

/** Alerts of a symbol that were heard, oldest first. */
export const ofSymbol = (symbol) => state.entries.filter((entry) => entry.alert?.symbol === symbol).reverse();

socket.alertHeard.on((alert, isLate) => take(alert, isLate));
socket.gapHeard.on(missed);
