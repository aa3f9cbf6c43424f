// The one WebSocket: signs in with its first message, comes back by itself, resumes where it was, and follows what windows ask for.

import { Signal } from "./signal.js";
import * as session from "./session.js";

const RETRY_MS = [250, 700, 1_500, 3_000, 6_000, 10_000];
const PING_MS = 10_000;
const SILENT_MS = 25_000; // longer than two pings: nobody is there
const MISSING_MS = 3_000; // what was asked for again and did not come by then does not come

export const alertHeard = new Signal(); // (alert, isLate)
export const gapHeard = new Signal(); // ({from, to})
export const listHeard = new Signal(); // (data of toplist_update)
export const barHeard = new Signal();
export const metricsHeard = new Signal();
export const functionsHeard = new Signal();
export const stateChanged = new Signal(); // ("open" | "closed" | "connecting")
export const refused = new Signal(); // (code, message)

const followed = { lists: new Map(), bars: new Map(), metrics: new Map(), functions: 0 };
const state = { socket: null, tries: 0, seq: null, heardAt: 0, timer: 0, isOn: false, is: "closed", hasBars: true, asked: { after: -1, at: 0 } };

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
  socket.onclose = () => {
    if (state.socket !== socket) return;
    set("closed");
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
  if (state.seq !== null) send({ type: "resume", after: state.seq }, socket);
  for (const id of followed.lists.keys()) send({ type: "subscribe_toplist", toplist_id: id, deltas: true }, socket);
  if (followed.bars.size && state.hasBars) send({ type: "subscribe_bars", symbols: [...followed.bars.keys()] }, socket);
  for (const one of followed.metrics.values()) send({ type: "subscribe_metrics", symbol: one.symbol, names: one.names }, socket);
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
  else if (type === "gap") {
    state.seq = Math.max(state.seq ?? 0, message.to);
    gapHeard.tell({ from: message.from, to: message.to });
  } else if (type === "error") {
    if (/subscribe_bars/.test(message.message || "") && message.code === "unknown_message_type") state.hasBars = false;
    refused.tell(message.code, message.message || "");
  }
}

/** Alerts are numbered without a gap: what is known is passed over, what is missing is asked for once. */
function hearAlert(alert, isLate) {
  const before = state.seq;
  if (before !== null && alert.seq <= before) return;
  if (before && alert.seq > before + 1 && isWaitingFor(before)) return;
  if (before && alert.seq > before + 1) gapHeard.tell({ from: before + 1, to: alert.seq - 1 });
  state.seq = alert.seq;
  alertHeard.tell(alert, isLate);
}

/** Ask once for what comes after an alert, and wait for it a little; then it is a gap like others. */
function isWaitingFor(before) {
  if (state.asked.after !== before) {
    state.asked = { after: before, at: Date.now() };
    send({ type: "resume", after: before });
  }
  return Date.now() - state.asked.at < MISSING_MS;
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
export const followList = (id) => follow(followed.lists, id,
  () => send({ type: "subscribe_toplist", toplist_id: id, deltas: true }), () => send({ type: "unsubscribe_toplist", toplist_id: id }));

export const followBars = (symbol) => follow(followed.bars, symbol,
  () => state.hasBars && send({ type: "subscribe_bars", symbols: [symbol] }),
  () => state.hasBars && send({ type: "unsubscribe_bars", symbols: [symbol] }));

export const followMetrics = (symbol, names) => follow(followed.metrics, `${symbol} ${names.join(" ")}`,
  () => send({ type: "subscribe_metrics", symbol, names }), () => send({ type: "unsubscribe_metrics", symbol }), { symbol, names });

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
export const followedBars = () => [...followed.bars.keys()];

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
