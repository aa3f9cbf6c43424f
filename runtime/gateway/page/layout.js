// Where windows are: columns of panes of tabs, as plain data that is saved, exported and given back.

import { Signal } from "./signal.js";
import * as preferences from "./preferences.js";

const VERSION = 1;
let made = 0;
const freshId = () => `w${Date.now().toString(36)}${(made += 1)}`;

const win = (kind, more = {}) => ({ id: freshId(), kind, group: "blue", state: {}, ...more });
const pane = (size, ...windows) => ({ size, windows, shown: windows[0].id });
const column = (size, ...panes) => ({ size, panes });

/** What comes with the page. */
export const MADE = {
  Scan: () => ({
    columns: [
      column(
        31,
        pane(52, win("list", { state: { list: "gainers_5m" } })),
        pane(48, win("list", { state: { list: "losers_5m" } }), win("list", { state: { list: "volume_5m" } })),
      ),
      column(46, pane(50, win("chart")), pane(50, win("tape"))),
      column(23, pane(54, win("watchlist"), win("quote")), pane(46, win("rules"))),
    ],
  }),
  Alerts: () => ({
    columns: [
      column(58, pane(64, win("tape")), pane(36, win("rules"), win("replay"))),
      column(42, pane(60, win("chart")), pane(40, win("quote"), win("watchlist"))),
    ],
  }),
  Research: () => ({
    columns: [
      column(46, pane(50, win("rules")), pane(50, win("backtest"))),
      column(54, pane(50, win("replay")), pane(50, win("chart", { state: { timeframe: "5m" } }))),
    ],
  }),
};

const state = { tree: null, name: "Scan" };

/** Told when windows came, went or moved. */
export const changed = new Signal();
export const tree = () => state.tree;
export const name = () => state.name;

export function begin() {
  const kept = preferences.get("layout");
  state.tree = isWhole(kept?.tree) ? kept.tree : MADE.Scan();
  state.name = kept?.name || "Scan";
  changed.tell();
}

/** Keep what changed; `isShape` says that windows came, went or moved. */
export function save(isShape = false) {
  preferences.set("layout", { name: state.name, tree: state.tree });
  if (isShape) changed.tell();
}

/** Whether something is a layout: what is imported is not trusted. */
export function isWhole(tree) {
  const isWindow = (one) =>
    one && typeof one.id === "string" && typeof one.kind === "string" && typeof one.state === "object";
  return Boolean(
    tree &&
    Array.isArray(tree.columns) &&
    tree.columns.length &&
    tree.columns.every(
      (one) =>
        Number.isFinite(one.size) &&
        Array.isArray(one.panes) &&
        one.panes.length &&
        one.panes.every(
          (each) =>
            Number.isFinite(each.size) &&
            Array.isArray(each.windows) &&
            each.windows.length &&
            each.windows.every(isWindow),
        ),
    ),
  );
}

/** Windows in the order they are read: by column, from the top. */
export const windows = () => state.tree.columns.flatMap((one) => one.panes.flatMap((each) => each.windows));

function find(id) {
  for (const [c, one] of state.tree.columns.entries()) {
    for (const [p, each] of one.panes.entries()) {
      const w = each.windows.findIndex((window) => window.id === id);
      if (w >= 0) return { c, p, w, column: one, pane: each, window: each.windows[w] };
    }
  }
  return null;
}
export const paneOf = (id) => find(id)?.pane;

export function show(id) {
  const at = find(id);
  if (!at || at.pane.shown === id) return;
  at.pane.shown = id;
  save(true);
}

/** A new window beside another one, as a tab, or below it. */
export function add(kind, besideId, { isBelow = false, ...more } = {}) {
  const window = win(kind, more);
  const at = find(besideId) || find(windows()[0].id);
  if (isBelow) {
    at.pane.size /= 2;
    at.column.panes.splice(at.p + 1, 0, { ...pane(at.pane.size, window) });
  } else {
    at.pane.windows.push(window);
    at.pane.shown = window.id;
  }
  save(true);
  return window.id;
}

function take(at) {
  at.pane.windows.splice(at.w, 1);
  if (at.pane.shown === at.window.id) at.pane.shown = at.pane.windows[Math.max(0, at.w - 1)]?.id;
  if (at.pane.windows.length) return;
  at.column.panes.splice(at.p, 1);
  if (at.column.panes.length) at.column.panes[Math.max(0, at.p - 1)].size += at.pane.size;
  else state.tree.columns.splice(state.tree.columns.indexOf(at.column), 1);
}

/** Close a window; the last one stays. */
export function remove(id) {
  const at = find(id);
  if (!at || windows().length === 1) return false;
  take(at);
  save(true);
  return true;
}

/** Move a window: left and right to another column or a new one, up and down to another pane or a new one. */
export function move(id, where) {
  const at = find(id);
  if (!at) return;
  const isAlone = at.pane.windows.length === 1;
  const { columns } = state.tree;
  if (where === "left" || where === "right") {
    const beside = columns[at.c + (where === "left" ? -1 : 1)];
    if (!beside && isAlone && at.column.panes.length === 1) return;
    take(at);
    if (beside) receive(beside.panes[Math.min(at.p, beside.panes.length - 1)], at.window);
    else
      columns[where === "left" ? "unshift" : "push"](
        column(Math.max(...columns.map((one) => one.size)) / 2, pane(1, at.window)),
      );
  } else {
    const beside = at.column.panes[at.p + (where === "up" ? -1 : 1)];
    if (!beside && isAlone) return;
    take(at);
    if (beside) receive(beside, at.window);
    else {
      const half = at.pane.size / 2;
      at.pane.size = half;
      at.column.panes.splice(where === "up" ? 0 : at.column.panes.length, 0, pane(half, at.window));
    }
  }
  save(true);
}

function receive(into, window) {
  into.windows.push(window);
  into.shown = window.id;
}

// -- by name

export function open(called) {
  const kept = preferences.get("layouts")[called];
  state.tree = isWhole(kept) ? structuredClone(kept) : (MADE[called] || MADE.Scan)();
  state.name = called;
  save(true);
}

export function keepAs(called) {
  preferences.set("layouts", { ...preferences.get("layouts"), [called]: structuredClone(state.tree) });
  state.name = called;
  save();
}

export function forget(called) {
  const { [called]: _, ...others } = preferences.get("layouts");
  preferences.set("layouts", others);
}

export const names = () => [...new Set([...Object.keys(MADE), ...Object.keys(preferences.get("layouts"))])];

export const exported = () => JSON.stringify({ jetscan_layout: VERSION, name: state.name, ...state.tree }, null, 2);

/** A layout from a file; throws where it is none. */
export function imported(text) {
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    throw new Error("expected a layout as JSON, found something else");
  }
  if (told?.jetscan_layout !== VERSION || !isWhole(told))
    throw new Error(`expected a layout of version ${VERSION} with columns of panes of windows`);
  state.tree = { columns: told.columns };
  state.name = String(told.name || "Imported").slice(0, 60);
  save(true);
}
