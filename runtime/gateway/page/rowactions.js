// What can be done with a symbol, in whatever table its row is.

import * as menu from "./menu.js";
import * as watch from "./watch.js";
import * as link from "./link.js";
import * as preferences from "./preferences.js";
import { attempt, note } from "./dialog.js";
import * as live from "./live.js";

export const isMuted = (symbol) => preferences.get("mutes").includes(symbol);

/** Put a symbol on the current watchlist or take it off, and say so. */
export async function toggleWatch(symbol) {
  await attempt(async () => {
    const isOn = await watch.toggle(symbol);
    const text = `${symbol} is ${isOn ? "on" : "off"} ${watch.current().name}`;
    note(text, "good");
    live.say(text);
  });
}

/** No alert of the symbol is shown or sounds, until it is muted no more. */
export function toggleMute(symbol) {
  const mutes = preferences.get("mutes");
  const isOn = !mutes.includes(symbol);
  preferences.set("mutes", isOn ? [...mutes, symbol] : mutes.filter((one) => one !== symbol));
  const text = `${symbol} is ${isOn ? "muted" : "heard again"}`;
  note(text);
  live.say(text);
}

/** The menu of a row. `more` goes first. */
export function show(anchor, symbol, more = []) {
  menu.show(
    anchor,
    [
      { title: symbol },
      ...more,
      ...link.GROUPS.filter(([id]) => id !== "none").map(([id, text]) => ({
        text: `Show in ${text.toLowerCase()} windows`,
        swatch: id,
        act: () => link.pick(id, symbol),
      })),
      "-",
      {
        text: watch.has(symbol) ? "Take off the watchlist" : "Put on the watchlist",
        hint: "w",
        act: () => toggleWatch(symbol),
      },
      { text: isMuted(symbol) ? "Let it be heard again" : "Mute", hint: "m", act: () => toggleMute(symbol) },
      { text: "Copy symbol", act: () => navigator.clipboard?.writeText(symbol) },
    ],
    symbol,
  );
}

/** The actions of keys for a table of symbols. */
export const keysOf = (grid, symbolOf) => ({
  watch: () => withSymbol(grid, symbolOf, toggleWatch),
  mute: () => withSymbol(grid, symbolOf, toggleMute),
  focus: () => grid.focus(),
});

function withSymbol(grid, symbolOf, act) {
  const row = grid.activeRow;
  if (!row) return false;
  act(symbolOf(row));
  return true;
}
