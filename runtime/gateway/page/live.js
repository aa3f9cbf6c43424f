// What a screen reader is told: one summary, at most every five seconds; at once only for rules the user chose.

import { byId } from "./dom.js";
import * as preferences from "./preferences.js";

const SUMMARY_MS = 5_000;
const state = { alerts: [], told: [] };

/** An alert came. */
export function alert(one) {
  const text = `${one.symbol} ${one.rule_name}`;
  if (preferences.get("assertive").includes(one.rule_id)) byId("live-now").textContent = text;
  else state.alerts.push(text);
}

/** Something that the user did, or that happened to the page. */
export const say = (text) => state.told.push(text);

function summary() {
  const { alerts, told } = state;
  const parts = [...new Set(told)];
  if (alerts.length) {
    const newest = [...new Set(alerts.slice(-3).reverse())].join(", ");
    parts.push(`${alerts.length} new ${alerts.length === 1 ? "alert" : "alerts"}: ${newest}`);
  }
  if (parts.length) byId("live").textContent = parts.join(". ");
  state.alerts = [];
  state.told = [];
}

setInterval(summary, SUMMARY_MS);
