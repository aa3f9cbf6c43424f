// The one WebSocket: signs in with its first message, comes back by itself, resumes where it was, and follows what windows ask for.

import { Signal } from "./signal.js";
import * as session from "./session.js";

const RETRY_MS = [250, 700, 1_500, 3_000, 6_000, 10_000];
const PING_MS = 10_000;
const NOT_ALLOWED = 1008; // among others: the token is not valid any more
const TOGETHER_MS = 30;
const SILENT_MS = 25_000; // longer than two pings: nobody is there

export const alertHeard = new Signal(); // (alert, isLate)
export const gapHeard = new Signal(); // ({from, to})
export const listHeard = new Signal(); // (data of toplist_update)
export const barHeard = new Signal();
export const metricsHeard = new Signal();
export const functionsHeard = new Signal();
export const stateChanged = new Signal(); // ("open" | "closed" | "connecting")
export const refused = new Signal(); // (code, message)

const followed = { lists: new Map(), bars: new Map(), metrics: new Map(), functions: 0 };
const state = {
  socket: null,
  tries: 0,
  seq: null,
  isResuming: false, // from then on until it is answered: alerts that come meanwhile come again
  heardAt: 0,
  timer: 0,
  isOn: false,
  is: "closed",
  hasBars: true,
  changes: { bars: new Map(), timer: 0 },
};

export const condition = () => state.is;
/** The number of the newest alert heard; null = none yet. */
export const newest = () => state.seq;
export const heardAt = () => state.heardAt;

/** Begin; `seq` is the newest alert that is known from elsewhere. */
export function open(seq = null) {
  state.isOn = true;
  state.seq ??= seq;
  connect();
}

export function close() {
  state.isOn = false;
  clearTimeout(state.timer);
  state.socket?.close();
}

function set(what) {
  state.is = what;
  stateChanged.tell(what);
}

function connect() {
  clearTimeout(state.timer);
  set("connecting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/ws`);
  state.socket = socket;
  socket.onopen = () => begin(socket);
  socket.onmessage = (event) => {
    state.heardAt = Date.now();
    hear(JSON.parse(event.data));
  };
  socket.onclose = async (event) => {
    if (state.socket !== socket) return;
    set("closed");
    if (event.code === NOT_ALLOWED && session.token()) await session.refresh();
    if (state.isOn) state.timer = setTimeout(connect, pause());
  };
}

/** Growing, scattered waits, so that a restart is not met by everybody at once. */
function pause() {
  const wait = RETRY_MS[Math.min(state.tries, RETRY_MS.length - 1)];
  state.tries += 1;
  return wait * (0.5 + Math.random());
}

function begin(socket) {
  state.tries = 0;
  state.heardAt = Date.now();
  if (session.token()) send({ type: "auth", token: session.token() }, socket);
  state.isResuming = state.seq !== null;
  if (state.isResuming) send({ type: "resume", after: state.seq }, socket);
  for (const id of followed.lists.keys()) send({ type: "subscribe_toplist", toplist_id: id, deltas: true }, socket);
  if (followed.bars.size && state.hasBars) send({ type: "subscribe_bars", symbols: [...followed.bars.keys()] }, socket);
  for (const one of followed.metrics.values())
    send({ type: "subscribe_metrics", symbol: one.symbol, names: one.names }, socket);
  if (followed.functions) send({ type: "subscribe_functions" }, socket);
  set("open");
}

export function send(message, socket = state.socket) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function hear(message) {
  const { type, data } = message;
  if (type === "alert") hearAlert(data, message.late === true);
  else if (type === "toplist_update") listHeard.tell(data);
  else if (type === "bar") barHeard.tell(data);
  else if (type === "metrics") metricsHeard.tell(data);
  else if (type === "functions") functionsHeard.tell(data);
  else if (type === "success") state.isResuming &&= data.action !== "resumed";
  else if (type === "pong" && !state.isResuming)
    state.seq = Math.max(state.seq ?? 0, message.seq ?? 0); // all up to here was sent, or is hidden from this user
  else if (type === "gap") {
    state.seq = Math.max(state.seq ?? 0, message.to);
    gapHeard.tell({ from: message.from, to: message.to });
  } else if (type === "error") {
    if (message.code === "unknown_message_type" && !/subscribe_bars/.test(message.message || "")) state.hasBars = false;
    refused.tell(message.code, message.message || "");
  }
}

/** Alerts come in order: what is known from before a cut is passed over. What is missing, the server says. */
function hearAlert(alert, isLate) {
  if (state.isResuming || (state.seq !== null && alert.seq <= state.seq)) return;
  state.seq = alert.seq;
  alertHeard.tell(alert, isLate);
}

// -- what is followed, counted, so that two windows of one list are one subscription

function follow(map, key, start, end, more = {}) {
  const held = map.get(key) || { count: 0, ...more };
  held.count += 1;
  map.set(key, held);
  if (held.count === 1) start();
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    held.count -= 1;
    if (held.count) return;
    map.delete(key);
    end();
  };
}

/** Follow a toplist; every `follow...` returns what ends it. */
export const followList = (id) =>
  follow(
    followed.lists,
    id,
    () => send({ type: "subscribe_toplist", toplist_id: id, deltas: true }),
    () => send({ type: "unsubscribe_toplist", toplist_id: id }),
  );

export const followBars = (symbol) =>
  follow(
    followed.bars,
    symbol,
    () => change(symbol, true),
    () => change(symbol, false),
  );

/** A watchlist of a hundred symbols is one message, not a hundred: a connection may say only so much in a second. */
function change(symbol, isOn) {
  const { bars } = state.changes;
  if (bars.has(symbol) && bars.get(symbol) !== isOn) bars.delete(symbol);
  else bars.set(symbol, isOn);
  state.changes.timer ||= setTimeout(flush, TOGETHER_MS);
}

function flush() {
  const { bars } = state.changes;
  state.changes = { bars: new Map(), timer: 0 };
  if (!state.hasBars) return;
  for (const [type, isOn] of [
    ["unsubscribe_bars", false],
    ["subscribe_bars", true],
  ]) {
    const symbols = [...bars].filter(([, wanted]) => wanted === isOn).map(([symbol]) => symbol);
    if (symbols.length) send({ type, symbols });
  }
}

export const followMetrics = (symbol, names) =>
  follow(
    followed.metrics,
    `${symbol} ${names.join(" ")}`,
    () => send({ type: "subscribe_metrics", symbol, names }),
    () => send({ type: "unsubscribe_metrics", symbol }),
    { symbol, names },
  );

export function followFunctions() {
  followed.functions += 1;
  if (followed.functions === 1) send({ type: "subscribe_functions" });
  return () => {
    followed.functions -= 1;
    if (!followed.functions) send({ type: "unsubscribe_functions" });
  };
}

/** Whether running bars can be followed; an older server is asked over REST instead. */
export const hasBars = () => state.hasBars;

setInterval(() => {
  if (state.is !== "open") return;
  if (Date.now() - state.heardAt > SILENT_MS) state.socket.close();
  else if (Date.now() - state.heardAt > PING_MS) send({ type: "ping" });
}, 2_000);
addEventListener("online", () => {
  if (state.isOn && state.is === "closed") connect();
});
addEventListener("offline", () => {
  // The network says nothing any more: a closing handshake would never be answered.
  const socket = state.socket;
  state.socket = null;
  socket?.close();
  if (!state.isOn) return;
  set("closed");
  clearTimeout(state.timer);
  state.timer = setTimeout(connect, pause());
});
session.changed.on((isIn) => {
  if (isIn && state.is === "open") send({ type: "auth", token: session.token() });
});
