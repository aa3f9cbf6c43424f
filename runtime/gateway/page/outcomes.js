// How the alerts of a rule went: hits, means and medians by horizon, as far as history knows.

import { make } from "./dom.js";
import { ask } from "./session.js";
import { percent } from "./format.js";

const HORIZONS = [
  ["1m", "after 1 min"],
  ["5m", "5 min"],
  ["15m", "15 min"],
  ["60m", "1 hour"],
  ["close", "at the close"],
];
const known = (value) => typeof value === "number";

/** A part of the page that fills itself; nothing where nothing is known. */
export function outcomesOf(ruleId) {
  const place = make("div", { class: "preview", hidden: true });
  ask("GET", `/rules/${encodeURIComponent(ruleId)}/outcomes?limit=1`)
    .then((told) => {
      if (!told.statistics?.alerts) return;
      place.hidden = false;
      place.append(
        make(
          "p",
          {},
          `What the price did after ${told.statistics.alerts} alerts on ${told.statistics.symbols} symbols, seen by a buyer, before costs:`,
        ),
        table(told.statistics),
      );
    })
    .catch(() => {}); // no history is no fault of the rule
  return place;
}

function table(statistics) {
  const row = (title, name, write) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, title),
      HORIZONS.map(([horizon]) => {
        const value = statistics[`${name}_${horizon}_pct`];
        return make(
          "td",
          { class: `number ${name === "hits" || !known(value) ? "" : value > 0 ? "up" : value < 0 ? "down" : ""}` },
          known(value) ? write(value) : "–",
        );
      }),
    );
  return make(
    "table",
    { class: "plain" },
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        make("td", {}),
        HORIZONS.map(([, title]) => make("th", { scope: "col", class: "number" }, title)),
      ),
    ),
    make(
      "tbody",
      {},
      row("Higher", "hits", (value) => `${Math.round(value)}%`),
      row("Mean", "mean", percent),
      row("Median", "median", percent),
    ),
  );
}
