// The metrics that rules and lists may name, asked for once; and the symbols.

import { ask } from "./session.js";
import { kindOf, wordsOf } from "./format.js";

// For a server that does not list them: enough to write a first rule with.
const KNOWN = (
  "price change_pct_1m change_pct_2m change_pct_5m change_pct_15m change_pct_30m change_pct_60m change_from_close_pct change_from_open_pct gap_from_close_pct " +
  "volume_1m volume_5m volume_15m volume_60m volume_daily dollar_volume_daily relative_volume_5m relative_volume_15m relative_volume_daily rsi_14 rsi_14_5m rsi_14_15m " +
  "ema_9 ema_20 sma_20 sma_50 atr_14 vwap_live vwap_dist_pct vwap_dist_5m_pct bb_20_2.0_upper bb_20_2.0_lower range_pct_today position_in_range_today marketcap float"
).split(" ");

const state = {
  all: KNOWN.map((name) => ({ name, title: wordsOf(name), group: "", unit: "" })),
  byName: new Map(),
  asking: null,
};
const index = () => {
  state.byName = new Map(state.all.map((one) => [one.name, one]));
};
index();

/** Every metric; what is known without the server until it has answered. */
export function all() {
  state.asking ??= ask("GET", "/metrics")
    .then((told) => {
      if (told.metrics?.length) state.all = told.metrics;
      index();
    })
    .catch(() => {
      setTimeout(() => {
        state.asking = null;
      }, 30_000);
    });
  return state.all;
}

export async function loaded() {
  all();
  await state.asking;
  return state.all;
}

export const unitOf = (name) => state.byName.get(name)?.unit || "";
export const kind = (name) => kindOf(name, unitOf(name));

/** Names that fit a beginning or a part, the nearest first. */
export function matching(text, most = 12) {
  const wanted = text.toLowerCase();
  const scored = [];
  for (const one of all()) {
    const at = one.name.indexOf(wanted);
    if (at === 0) scored.push([0, one]);
    else if (at > 0) scored.push([one.name[at - 1] === "_" ? 1 : 2, one]);
    else if ((one.title || "").toLowerCase().includes(wanted)) scored.push([3, one]);
  }
  return scored
    .sort((a, b) => a[0] - b[0] || a[1].name.length - b[1].name.length)
    .slice(0, most)
    .map(([, one]) => one);
}

/** Symbols that begin with or hold a text: [{symbol, name, exchange, last}]. */
export async function symbols(text, most = 12, signal) {
  const told = await ask("GET", `/symbols?search=${encodeURIComponent(text)}&limit=${most * 4}`, undefined, { signal });
  const details = new Map((told.details || []).map((one) => [one.symbol, one]));
  const wanted = text.toUpperCase();
  return (told.symbols || [])
    .map((symbol) => details.get(symbol) || { symbol })
    .sort(
      (a, b) =>
        Number(b.symbol.startsWith(wanted)) - Number(a.symbol.startsWith(wanted)) ||
        a.symbol.length - b.symbol.length ||
        (a.symbol < b.symbol ? -1 : 1),
    )
    .slice(0, most);
}
