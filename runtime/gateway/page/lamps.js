// Three lamps that mean three different things: the age of market data, the lag of the engine, the alert channel.

import { byId, make, put } from "./dom.js";
import { ask, isAdmin } from "./session.js";
import * as socket from "./socket.js";
import * as clock from "./clock.js";
import { lasting } from "./format.js";
import * as dialog from "./dialog.js";
import * as live from "./live.js";

const EVERY_MS = 5_000;
// Data older than this is amber, then red. Outside regular hours less trades, and nothing does while closed.
const AGES_MS = { market: [3_000, 15_000], premarket: [15_000, 120_000], postmarket: [15_000, 120_000] };
const LAG_MS = [500, 3_000];
const SIGNS = { good: "●", slow: "▲", bad: "■", off: "○" };

const state = { status: null, at: 0, lags: [], isAway: false };

export function begin() {
  for (const name of ["data", "engine", "alerts"]) byId(`lamp-${name}`).addEventListener("click", () => explain(name));
  socket.alertHeard.on((alert, isLate) => {
    if (isLate || !alert.latency_ms) return;
    state.lags.push((alert.latency_ms.stream || 0) + (alert.latency_ms.gateway || 0));
    if (state.lags.length > 200) state.lags.shift();
  });
  socket.stateChanged.on(show);
  setInterval(show, 1_000);
  setInterval(poll, EVERY_MS);
  poll();
}

async function poll() {
  try {
    state.status = await ask("GET", "/status");
    state.at = Date.now();
    state.isAway = false;
    clock.tell(state.status.session);
  } catch (error) {
    state.isAway = error.status !== 404;
    state.status = null;
  }
  show();
}

function set(name, condition, text) {
  const lamp = byId(`lamp-${name}`);
  if (lamp.dataset.state !== condition && lamp.dataset.state === "good") live.say(`${lamp.dataset.title}: ${text}`);
  lamp.dataset.state = condition;
  put(lamp.querySelector(".lamp-sign"), SIGNS[condition]);
  put(lamp.querySelector(".lamp-text"), text);
}

const percentile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];

/** The age of the newest market data, ms. */
const dataAge = () =>
  (state.status?.data_age_ms ?? null) !== null ? state.status.data_age_ms + (Date.now() - state.at) : clock.age();

function show() {
  const isOpen = socket.condition() === "open";
  const session = clock.read().name;
  const age = Math.min(dataAge(), clock.age());
  const [amber, red] = AGES_MS[session] || [Infinity, Infinity];
  const feed = state.status?.feeds?.[0]; // the worst
  if (!isOpen) set("data", "bad", "not connected");
  else if (feed?.state === "lost") set("data", "bad", `${feed.source} lost`);
  else if (feed?.state === "standby" && !(age > red)) set("data", "slow", `standby ${feed.source}`);
  else if (!Number.isFinite(age)) set("data", "off", "waiting");
  else if (session === "closed" && age > 60_000) set("data", "off", "market closed");
  else set("data", age > red ? "bad" : age > amber ? "slow" : "good", age < 1_000 ? (state.status?.is_replay ? "replay" : "live") : `${lasting(age)} old`);

  const lag = state.status?.engine_lag_ms ?? (state.lags.length ? percentile(state.lags, 0.5) : null);
  const refused = state.status?.refused || 0; // the last good version of each goes on
  if (!isOpen) set("engine", "off", "not known");
  else if (refused) set("engine", "bad", `${refused} refused`);
  else if (lag === null || lag === undefined) set("engine", "off", "no alert yet");
  else set("engine", lag > LAG_MS[1] ? "bad" : lag > LAG_MS[0] ? "slow" : "good", lasting(lag));

  const told = state.status?.alerts?.state;
  if (!isOpen) set("alerts", "bad", socket.condition() === "connecting" ? "connecting" : "cut off");
  else if (told && !/^(ok|good|live|ready|connected|up)$/i.test(told))
    set("alerts", /down|bad|away|lost/.test(told) ? "bad" : "slow", told);
  else set("alerts", "good", "listening");
}

const ago = (since) => `for ${lasting(Math.max(0, Date.now() - Date.parse(since)))}`;

const MEANINGS = {
  data: "How long ago the newest market data came, and whether a standby or nobody sends it. Amber and red depend on the session: less trades outside regular hours.",
  engine: "How long functions take from stored input to numbered alert, and whether one is refused as it stands on disk: then its last good version goes on.",
  alerts: "Whether this page hears alerts as they are said. What is missed while it does not is sent afterwards.",
};

/** Which functions are refused, where and why, for those who may know. */
async function refusals() {
  if (!state.status?.refused || !isAdmin()) return null;
  const told = await ask("GET", "/admin/lag").catch(() => null);
  return told?.faults.map((fault) => make("p", { class: "bad" }, make("code", {}, fault)));
}

async function explain(name) {
  const refused = name === "engine" ? await refusals() : null;
  const rows = [];
  const add = (title, value) =>
    rows.push(make("tr", {}, make("th", { scope: "row" }, title), make("td", { class: "number" }, value)));
  if (name === "data") {
    add("Market time", `${clock.read().day} ${clock.read().time} ${clock.read().zone}`);
    add("Newest event heard by this page", Number.isFinite(clock.age()) ? `${lasting(clock.age())} ago` : "none yet");
    for (const source of state.status?.sources || [])
      add(
        `Source ${source.name || source.source || "?"}`,
        source.age_ms === undefined || source.age_ms === null ? source.state || "" : `${lasting(source.age_ms)} old`,
      );
    for (const feed of state.status?.feeds || [])
      add(`Feed ${feed.source}`, feed.reason ? `${feed.state}, ${feed.reason}, ${ago(feed.since)}` : `${feed.state}, ${ago(feed.since)}`);
  } else if (name === "engine") {
    if (state.status) add("Lag, as the server tells it", lasting(state.status.engine_lag_ms));
    if (state.lags.length) {
      add(`Alerts heard here, of the last ${state.lags.length}: half within`, lasting(percentile(state.lags, 0.5)));
      add("99 of 100 within", lasting(percentile(state.lags, 0.99)));
    }
  } else {
    add("Connection", socket.condition());
    add("Newest alert heard", socket.newest() === null ? "none" : `number ${socket.newest()}`);
    if (state.status?.alerts?.newest !== undefined) add("Newest alert said", `number ${state.status.alerts.newest}`);
  }
  dialog.open(byId(`lamp-${name}`).dataset.title, [
    make("p", {}, MEANINGS[name]),
    ...(refused || []),
    make("table", { class: "facts" }, make("tbody", {}, rows)),
    isAdmin() ? make("p", { class: "hint" }, "More in the window Functions.") : null,
  ]);
}
