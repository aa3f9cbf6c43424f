// Why an alert was said: every condition, where its time went, and what became of it.

import { make, button } from "./dom.js";
import { price, timeMsOf, zoneOf, valueOf, wordsOf, leafInWords, lasting, msOf, compact } from "./format.js";

const SIGNS = { true: "✓", false: "✗", null: "?" };
const WORDS = { true: "true", false: "not true", null: "unknown" };
const STAGES = {
  feed: "From the exchange to the stream",
  stream: "Functions, and waiting for them",
  gateway: "To the gateway",
  page: "To this page",
};

/** The panel of an entry of the tape. `acts`: close, showRule(id), acknowledge. */
export function panel(entry, acts) {
  const { alert } = entry;
  return [
    make(
      "header",
      {},
      make(
        "div",
        {},
        make("h2", {}, `${alert.symbol} · ${alert.rule_name}`),
        make(
          "p",
          { class: "faint" },
          `${timeMsOf(msOf(alert.timestamp))} ${zoneOf(msOf(alert.timestamp))} at ${price(alert.price)}`,
        ),
      ),
      button("✕", acts.close, { class: "icon", "aria-label": "Close the explanation" }),
    ),
    make(
      "div",
      { class: "chips" },
      badge(
        alert.kind === "fired" ? "fired" : alert.kind,
        alert.kind === "withdrawn" ? "bad" : alert.kind === "fired" ? "on" : "",
      ),
      alert.strength !== undefined ? badge(`strength ${strengthOf(alert.strength)}`) : null,
      badge(`${entry.today} today`),
      entry.count > 1 ? badge(`${entry.count} within a minute`) : null,
    ),
    alert.reason ? make("p", {}, `Reason: ${alert.reason}`) : null,
    conditions(alert),
    metricsOf(alert),
    latency(entry),
    trail(entry),
    origin(alert),
    make(
      "div",
      { class: "actions" },
      button(entry.isAcknowledged ? "Not acknowledged" : "Acknowledge", acts.acknowledge),
      button("Open the rule", () => acts.showRule(alert.rule_id)),
    ),
  ].filter(Boolean);
}

const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, text);
export const strengthOf = (value) => `${Math.round(value * 100)}%`;

function conditions(alert) {
  const leaves = alert.explain?.leaves || [];
  if (!leaves.length) return null;
  return make(
    "section",
    { "aria-label": "Conditions" },
    make("h3", {}, "Conditions"),
    leaves.map((leaf) => {
      const truth = leaf.truth === true ? "true" : leaf.truth === false ? "false" : "unknown";
      return make(
        "div",
        { class: "leaf" },
        make(
          "span",
          { class: `leaf-sign ${truth}`, role: "img", "aria-label": WORDS[String(leaf.truth ?? null)] },
          SIGNS[String(leaf.truth ?? null)],
        ),
        make("span", {}, leafInWords(leaf)),
        make("b", { class: "number" }, margin(leaf.margin)),
        make(
          "span",
          { class: "leaf-more" },
          make("code", {}, leaf.text),
          make("span", {}, `value ${told(leaf.value)}`),
          make("span", {}, `threshold ${told(leaf.threshold)}`),
          leaf.missing ? make("span", {}, leaf.missing) : null,
        ),
      );
    }),
  );
}

const told = (value) =>
  value === null || value === undefined ? "absent" : typeof value === "number" ? compactOf(value) : String(value);
const compactOf = (value) => (Math.abs(value) >= 10_000 ? compact(value) : String(Number(value.toFixed(4))));
const margin = (value) =>
  typeof value === "number"
    ? `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(value * 100 >= 100 ? 0 : 1)}%`
    : "";

function metricsOf(alert) {
  const metrics = Object.entries(alert.metadata?.metrics || {});
  if (!metrics.length) return null;
  return make(
    "section",
    { "aria-label": "Values" },
    make("h3", {}, "Values at that moment"),
    make(
      "table",
      { class: "facts" },
      make(
        "tbody",
        {},
        metrics.map(([name, value]) =>
          make(
            "tr",
            {},
            make("th", { scope: "row", title: name }, wordsOf(name)),
            make("td", { class: "number" }, typeof value === "number" ? valueOf(name, value) : String(value)),
          ),
        ),
      ),
    ),
  );
}

function latency(entry) {
  const stages = Object.entries(entry.alert.latency_ms || {});
  if (!stages.length) return null;
  const most = Math.max(...stages.map(([, ms]) => Math.max(0, ms)), 0.001);
  return make(
    "section",
    { "aria-label": "Latency" },
    make("h3", {}, "Where the time went"),
    make(
      "div",
      { class: "stages" },
      stages.flatMap(([name, ms]) => {
        const bar = make("i");
        bar.style.width = `${Math.max(0, (ms / most) * 100)}%`;
        return [
          make("span", {}, STAGES[name] || name),
          make("span", { class: "bar", "aria-hidden": "true" }, bar),
          make("b", { class: "number" }, lasting(Math.max(0, ms))),
        ];
      }),
    ),
  );
}

function trail(entry) {
  if (!entry.changes.length) return null;
  return make(
    "section",
    { "aria-label": "Afterwards" },
    make("h3", {}, "Afterwards"),
    make(
      "div",
      { class: "trail" },
      entry.changes.map((change) =>
        make(
          "p",
          {},
          make("b", {}, change.kind),
          ` ${timeMsOf(msOf(change.timestamp))}`,
          change.reason ? `: ${change.reason}` : "",
          change.kind === "amended" ? `, price ${price(change.price)}` : "",
        ),
      ),
    ),
  );
}

function origin(alert) {
  const causes = alert.causes || {};
  const rows = [
    ["Number", alert.seq],
    ["Id", alert.id],
    ["Trades", (causes.trade_ids || []).join(", ")],
    ["Stream", causes.stream],
    ["Position", causes.position ?? causes.sequence],
    ["Trace", alert.trace_id],
  ].filter(([, value]) => value !== undefined && value !== "" && value !== null);
  return make(
    "details",
    {},
    make("summary", { class: "faint" }, "Origin"),
    make(
      "table",
      { class: "facts" },
      make(
        "tbody",
        {},
        rows.map(([name, value]) =>
          make(
            "tr",
            {},
            make("th", { scope: "row" }, name),
            make("td", {}, make("code", { class: "id" }, String(value))),
          ),
        ),
      ),
    ),
  );
}
