// Watchlists: on the server, and in this browser where the server keeps none.

import { Signal } from "./signal.js";
import { ask } from "./session.js";
import * as preferences from "./preferences.js";

const state = { lists: [], current: null, isKept: true, loading: null };

/** Told when any list changed. */
export const changed = new Signal();

export const lists = () => state.lists;
export const isKept = () => state.isKept;
export const current = () => state.lists.find((one) => one.id === state.current) || state.lists[0];
export const choose = (id) => {
  state.current = id;
};
export const has = (symbol) => Boolean(current()?.symbols.includes(symbol));

export function load() {
  state.loading ??= read();
  return state.loading;
}

async function read() {
  try {
    const told = await ask("GET", "/watchlists");
    state.lists = told.watchlists.map((one) => ({ ...one, symbols: one.symbols || [] }));
    state.isKept = true;
    if (!state.lists.length) await add("Watchlist");
  } catch (error) {
    if (!error.isAway) throw error;
    state.isKept = false;
    state.lists = structuredClone(preferences.get("watchlists")) || [{ id: "mine", name: "Watchlist", symbols: [] }];
  }
  changed.tell();
}

function keep() {
  preferences.set("watchlists", structuredClone(state.lists));
  changed.tell();
}

const idOf = (name) =>
  `${
    name
      .toLowerCase()
      .replaceAll(/[^a-z0-9_-]+/g, "-")
      .replaceAll(/^-|-$/g, "")
      .slice(0, 40) || "list"
  }-${Date.now().toString(36)}`;

export async function add(name) {
  const made = { id: idOf(name), name, symbols: [] };
  if (!state.isKept) {
    state.lists.push(made);
    keep();
    return made.id;
  }
  const told = await ask("POST", "/watchlists", made);
  state.lists.push({ symbols: [], ...told });
  changed.tell();
  return told.id;
}

export async function rename(id, name) {
  const list = state.lists.find((one) => one.id === id);
  if (state.isKept) await ask("PUT", `/watchlists/${id}`, { ...list, name });
  list.name = name;
  state.isKept ? changed.tell() : keep();
}

export async function remove(id) {
  if (state.isKept) await ask("DELETE", `/watchlists/${id}`);
  state.lists = state.lists.filter((one) => one.id !== id);
  if (!state.lists.length) await add("Watchlist");
  state.isKept ? changed.tell() : keep();
}

/** Put a symbol on a list, or take it off. */
export async function put(id, symbol, isOn = true) {
  const list = state.lists.find((one) => one.id === id);
  if (!list || list.symbols.includes(symbol) === isOn) return;
  list.symbols = isOn ? [...list.symbols, symbol] : list.symbols.filter((one) => one !== symbol);
  if (!state.isKept) return keep();
  changed.tell();
  try {
    await ask(isOn ? "PUT" : "DELETE", `/watchlists/${id}/symbols/${encodeURIComponent(symbol)}`);
  } catch (error) {
    list.symbols = isOn ? list.symbols.filter((one) => one !== symbol) : [...list.symbols, symbol];
    changed.tell();
    throw error;
  }
}

/** On the current list if it is not, off if it is; returns whether it is now. */
export async function toggle(symbol) {
  await load();
  const isOn = !has(symbol);
  await put(current().id, symbol, isOn);
  return isOn;
}
