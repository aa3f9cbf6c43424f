// Windows of one colour show one symbol.

import { Signal } from "./signal.js";

export const GROUPS = [
  ["blue", "Blue"],
  ["orange", "Orange"],
  ["violet", "Violet"],
  ["green", "Green"],
  ["none", "Not linked"],
];

const symbols = new Map();

/** Told with (group, symbol). */
export const picked = new Signal();

/** The symbol of a group; empty = none yet. */
export const symbolOf = (group) => symbols.get(group) || "";

/** Show a symbol in every window of the group. */
export function pick(group, symbol) {
  if (!symbol || group === "none") return;
  symbols.set(group, symbol);
  picked.tell(group, symbol);
}
