// What a user likes: kept on the server, and in this browser where the server cannot.

import { Signal } from "./signal.js";
import { ask } from "./session.js";

const KEY = "jetscan.preferences";
const SAVE_MS = 800;
const DEFAULTS = {
  theme: "auto",
  colors: "usual",
  flashes: true,
  heat: true,
  density: "dense",
  sound: { on: false, volume: 0.5, rules: {}, speech: false, desktop: false, quiet: null },
  assertive: [],
  mutes: [],
  watchlists: null,
  recent: [],
  layouts: {},
  layout: null,
  lists: {},
};

const state = { all: structuredClone(DEFAULTS), timer: 0, isKept: true, isLoaded: false };

/** Told with the name of what changed; `*` = everything. */
export const changed = new Signal();

export const get = (name) => state.all[name];
/** Whether the server keeps them; else this browser does. */
export const isKept = () => state.isKept;

export function set(name, value) {
  state.all[name] = value;
  changed.tell(name);
  save();
}

/** What this browser remembers, at once; then what the server does. */
export async function load() {
  take(remembered());
  try {
    const told = await ask("GET", "/user/preferences");
    take(told.preferences ?? told);
    state.isKept = true;
  } catch (error) {
    if (!error.isAway && error.status !== 401) throw error;
    state.isKept = false;
  }
  state.isLoaded = true;
  changed.tell("*");
}

/** This browser's copy alone, for what is shown before anything was asked. */
export function begin() {
  take(remembered());
  changed.tell("*");
}

function take(told) {
  if (!told || typeof told !== "object") return;
  for (const name of Object.keys(DEFAULTS)) {
    if (told[name] === undefined || told[name] === null) continue;
    const isGroup = DEFAULTS[name] && typeof DEFAULTS[name] === "object" && !Array.isArray(DEFAULTS[name]);
    state.all[name] = isGroup ? { ...DEFAULTS[name], ...told[name] } : told[name];
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY) || "null");
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state.all));
  } catch {
    /* a browser that keeps nothing: the server does */
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(push, SAVE_MS);
}

async function push() {
  if (!state.isLoaded) return;
  try {
    await ask("PUT", "/user/preferences", state.all);
    state.isKept = true;
  } catch (error) {
    state.isKept = false;
    if (!error.isAway && error.status !== 401)
      console.warn("preferences are kept in this browser only:", error.message);
  }
}
