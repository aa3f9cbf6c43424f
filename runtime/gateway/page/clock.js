// The exchange's clock: market time as heard, the session it is in, and what is left of it.

import { partsOf, timeOf, zoneOf, countdown, dayOf } from "./format.js";
import { Signal } from "./signal.js";

// Of a regular day of the exchange; holidays and half days are the server's to tell.
const SESSIONS = [
  ["premarket", 4 * 60],
  ["market", 9 * 60 + 30],
  ["postmarket", 16 * 60],
  ["closed", 20 * 60],
];
export const NAMES = { premarket: "Pre-market", market: "Open", postmarket: "After hours", closed: "Closed" };
const LEAD_MS = 1_500; // the clock goes on this far past the newest event, not further

const state = { eventMs: 0, heardAt: 0, told: null };

/** Told with the newest event time, in ms. */
export const moved = new Signal();

/** Event time was heard of. */
export function note(ms) {
  if (!(ms > state.eventMs)) return;
  state.eventMs = ms;
  state.heardAt = Date.now();
  moved.tell(ms);
}

/** What the server says the session is; it knows the calendar. */
export function tell(session) {
  state.told = session || null;
}

/** Market time, ms; 0 = nothing was heard yet. */
export const now = () => (state.eventMs ? state.eventMs + Math.min(Date.now() - state.heardAt, LEAD_MS) : 0);
/** How long ago event time moved, ms. */
export const age = () => (state.heardAt ? Date.now() - state.heardAt : Infinity);

/** The session of a moment on a regular day, and the ms until it ends. */
export function sessionAt(ms) {
  const at = partsOf(ms);
  const minute = at.hour * 60 + at.minute;
  const isWeekend = at.weekday === "Sat" || at.weekday === "Sun";
  const place = SESSIONS.findLastIndex(([, begin]) => minute >= begin);
  const name = isWeekend || place < 0 ? "closed" : SESSIONS[place][0];
  const endMinute = place < 0 ? SESSIONS[0][1] : (SESSIONS[place + 1]?.[1] ?? 24 * 60 + SESSIONS[0][1]);
  return { name, leftMs: isWeekend ? NaN : (endMinute - minute) * 60_000 - at.second * 1000 - (ms % 1000) };
}

const FOLLOWED_BY = { premarket: "opens in", market: "closes in", postmarket: "ends in", closed: "pre-market in" };

/** The clock's words: time, zone, day, session and the countdown. */
export function read() {
  const ms = now();
  if (!ms) return { time: "--:--:--", zone: "NY", day: "", session: "", name: "closed", countdown: "" };
  const { name, leftMs } = sessionAt(ms);
  const shown = state.told && NAMES[state.told] ? state.told : name;
  const left = shown === name && Number.isFinite(leftMs) ? `${FOLLOWED_BY[name]} ${countdown(leftMs)}` : "";
  return { time: timeOf(ms), zone: zoneOf(ms), day: dayOf(ms), session: NAMES[shown], name: shown, countdown: left };
}
