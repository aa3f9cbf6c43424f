// Backtests: rules over stored days, with their progress, what they would have said, and when.

import { make as element, button, field, choice, put, download, csvOf } from "./dom.js";
import { Grid } from "./table.js";
import { ask, token } from "./session.js";
import * as clock from "./clock.js";
import * as dialog from "./dialog.js";
import { Editor } from "./editor.js";
import { plot } from "./plots.js";
import { compact, dayOf, timeMsOf, msOf, price, partsOf, lasting } from "./format.js";

const POLL_MS = 1_500;
const ALERTS_MAX = 20_000;
const PAGE = 1_000;
const RUNNING = new Set(["queued", "running"]);
const DAY_MS = 86_400_000;

class Backtest {
  constructor(context) {
    this.context = context;
    this.jobs = [];
    context.bar.append(
      button("New backtest", () => this.begin(), { class: "primary" }),
      (this.note = element("span", { class: "faint" })),
    );
    this.list = element("div", { class: "scroll", tabIndex: 0, role: "group", "aria-label": "Backtests" });
    this.result = element("div", {
      class: "scroll pad",
      hidden: true,
      tabIndex: 0,
      role: "group",
      "aria-label": "Result",
    });
    context.body.append(this.list, this.result);
    context.end(() => clearTimeout(this.timer));
    this.load();
  }

  async load() {
    clearTimeout(this.timer);
    try {
      this.jobs = (await ask("GET", "/backtests?limit=100")).backtests;
      this.show();
    } catch (error) {
      this.list.replaceChildren(
        element(
          "p",
          { class: "empty" },
          error.isAway
            ? "This server runs no backtests for the page. On its machine, jetscan backtest does."
            : error.message,
        ),
      );
      return;
    }
    if (this.jobs.some((job) => RUNNING.has(job.state))) this.timer = setTimeout(() => this.load(), POLL_MS);
  }

  show() {
    if (!this.jobs.length) {
      this.list.replaceChildren(
        element(
          "p",
          { class: "empty" },
          "No backtest yet. One runs the live functions over the stored minutes of past days.",
        ),
      );
      return;
    }
    this.list.replaceChildren(
      element(
        "table",
        { class: "plain" },
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            ["Backtest", "Days", "State", ""].map((text) => element("th", { scope: "col" }, text)),
          ),
        ),
        element(
          "tbody",
          {},
          this.jobs.map((job) => this.row(job)),
        ),
      ),
    );
  }

  row(job) {
    const name = job.name || (job.rules || []).map((rule) => rule.name).join(", ") || job.id;
    const isRunning = RUNNING.has(job.state);
    const state = isRunning
      ? [
          element("progress", { value: job.progress || 0, max: 1, "aria-label": `Progress of ${name}` }),
          element(
            "span",
            { class: "faint" },
            job.state === "queued"
              ? `waits${job.waiting ? `, ${job.waiting} before it` : ""}`
              : `${Math.round((job.progress || 0) * 100)}%`,
          ),
        ]
      : [
          element(
            "span",
            { class: `badge ${job.state === "done" ? "on" : "bad"}`, title: job.error || null },
            job.state,
          ),
          job.seconds ? element("span", { class: "faint" }, ` ${lasting(job.seconds * 1000)}`) : "",
        ];
    return element(
      "tr",
      {},
      element(
        "td",
        {},
        job.state === "done" ? button(name, () => this.open(job), { class: "quiet" }) : name,
        job.error ? element("p", { class: "bad" }, job.error) : null,
      ),
      element("td", {}, `${String(job.from || "").slice(0, 10)} to ${String(job.to || "").slice(0, 10)}`),
      element("td", {}, state),
      element(
        "td",
        { class: "number" },
        button(isRunning ? "Cancel" : "Delete", () => this.remove(job), {
          class: "quiet",
          "aria-label": `${isRunning ? "Cancel" : "Delete"} ${name}`,
        }),
      ),
    );
  }

  async remove(job) {
    await dialog.attempt(() => ask("DELETE", `/backtests/${job.id}`));
    if (this.opened === job.id) this.close();
    await this.load();
  }

  // -- a new one

  async begin() {
    const rules = (await ask("GET", "/rules").catch(() => ({ rules: [] }))).rules;
    const today = clock.now() || Date.now();
    const editor = new Editor({ label: "Rule", onchange: () => {} });
    const which = choice(
      [["", "A rule as text, below"], ...rules.map((rule) => [rule.id, rule.name])],
      rules[0]?.id || "",
      (id) => {
        text.hidden = Boolean(id);
      },
      {},
    );
    const text = element(
      "div",
      { hidden: Boolean(which.value) },
      element("span", { class: "field-title" }, "Rule"),
      editor.element,
    );
    const [from, to] = [
      element("input", { type: "date", required: true, value: dayOf(today - 5 * DAY_MS) }),
      element("input", { type: "date", required: true, value: dayOf(today) }),
    ];
    const symbols = element("input", { placeholder: "all", spellcheck: false });
    const name = element("input", { maxlength: 200, placeholder: "as the rule is called" });
    const fault = element("p", { class: "bad", role: "alert" });
    const submit = async (event) => {
      event.preventDefault();
      put(fault, "");
      const wanted = symbols.value
        .toUpperCase()
        .split(/[\s,]+/)
        .filter(Boolean);
      const body = {
        name: name.value.trim(),
        from: from.value,
        to: to.value,
        symbols: wanted,
        ...(which.value ? { rule_ids: [which.value] } : { rules: [editor.text] }),
      };
      try {
        await ask("POST", "/backtests", body);
        opened.close();
        await this.load();
      } catch (error) {
        put(fault, error.message);
      }
    };
    const opened = dialog.open(
      "New backtest",
      element(
        "form",
        { on: { submit } },
        element("div", { class: "fields" }, field("Rule", which), field("Name", name)),
        text,
        element("div", { class: "fields" }, field("First day", from), field("Last day", to), field("Symbols", symbols)),
        fault,
        element("div", { class: "actions" }, element("button", { type: "submit", class: "primary" }, "Start")),
      ),
      { wide: true },
    );
  }

  // -- a result

  async open(job) {
    this.opened = job.id;
    this.list.hidden = true;
    this.result.hidden = false;
    this.result.replaceChildren("Reading the alerts…");
    try {
      const alerts = await this.alertsOf(job.id);
      if (this.opened === job.id) this.tell(job, alerts);
    } catch (error) {
      this.result.replaceChildren(
        element("p", { class: "bad" }, error.message),
        button("Back", () => this.close()),
      );
    }
  }

  async alertsOf(id) {
    const all = [];
    while (all.length < ALERTS_MAX) {
      const told = await ask("GET", `/backtests/${id}/alerts?limit=${PAGE}&offset=${all.length}`);
      all.push(...told.alerts);
      if (told.alerts.length < PAGE) break;
    }
    return all;
  }

  close() {
    this.opened = null;
    this.result.hidden = true;
    this.list.hidden = false;
  }

  tell(job, alerts) {
    const fired = alerts.filter((alert) => !alert.kind || alert.kind === "fired");
    this.alerts = fired;
    const bySymbol = countBy(fired, (alert) => alert.symbol);
    const days = countBy(fired, (alert) => dayOf(msOf(alert.timestamp)));
    const halves = countBy(fired, halfHourOf);
    const hours = [...halves].sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const dayList = [...days].sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const top = [...bySymbol].sort((a, b) => b[1] - a[1]).slice(0, 25);
    const strengths = distribution(fired.map((alert) => alert.strength).filter((value) => typeof value === "number"));
    const table = element("div", { class: "backtest-alerts" });
    this.result.replaceChildren(
      ...[
        element(
          "div",
          { class: "actions" },
          element(
            "span",
            { class: "push" },
            button("← Back", () => this.close()),
          ),
          button("Report", () => this.report(job)),
          button("Alerts as CSV", () => download("backtest.csv", csvOf(this.csv()), "text/csv")),
        ),
        element("h2", {}, job.name || (job.rules || []).map((rule) => rule.name).join(", ")),
        element(
          "div",
          { class: "cards" },
          card(compact(fired.length), "alerts"),
          card(compact(bySymbol.size), "symbols"),
          card(String(days.size), "days with alerts"),
          card(days.size ? compact(fired.length / days.size) : "–", "alerts a day"),
          card(String(alerts.length - fired.length), "amended, withdrawn"),
        ),
        fired.length
          ? element(
              "div",
              { class: "plots" },
              plot(
                "Alerts by half hour, New York",
                { kind: "bars", values: hours.map(([, count]) => count), labels: hours.map(([label]) => label) },
                `Most at ${[...hours].sort((a, b) => b[1] - a[1])[0]?.[0]}`,
              ),
              plot(
                "Alerts by day",
                {
                  kind: "bars",
                  values: dayList.map(([, count]) => count),
                  labels: dayList.map(([label]) => label.slice(5)),
                },
                `${dayList.length} days`,
              ),
              plot(
                "Alerts so far",
                { kind: "line", values: running(fired), labels: dayList.map(([label]) => label.slice(5)) },
                `${fired.length} at the end`,
              ),
              strengths.labels.length
                ? plot("Strength", { kind: "bars", ...strengths }, "How far beyond their thresholds")
                : null,
            )
          : element("p", { class: "empty" }, "Nothing fired."),
        element("h3", {}, "Most alerts"),
        element(
          "p",
          { class: "chips" },
          top.map(([symbol, count]) =>
            button(`${symbol} ${count}`, () => this.context.pick(symbol), { class: "chip" }),
          ),
        ),
        element("h3", {}, "Alerts"),
        table,
      ].filter(Boolean),
    );
    this.grid?.end();
    this.grid = new Grid(table, {
      label: "Alerts of the backtest",
      keyOf: (alert) => alert.id + alert.timestamp,
      symbolOf: (alert) => alert.symbol,
      onPick: (alert) => this.context.pick(alert.symbol),
      columns: [
        {
          id: "time",
          title: "Time",
          width: "180px",
          text: (alert) => `${dayOf(msOf(alert.timestamp))} ${timeMsOf(msOf(alert.timestamp))}`,
          sort: (alert) => alert.timestamp,
        },
        {
          id: "symbol",
          title: "Symbol",
          width: "80px",
          text: (alert) => alert.symbol,
          tone: () => "symbol",
          sort: (alert) => alert.symbol,
        },
        { id: "rule", title: "Rule", width: "minmax(140px, 1fr)", text: (alert) => alert.rule_name },
        {
          id: "price",
          title: "Price",
          width: "80px",
          align: "right",
          text: (alert) => price(alert.price),
          sort: (alert) => alert.price,
        },
      ],
    });
    this.grid.setRows(fired);
  }

  async report(job) {
    const address = `/api/v1/backtests/${job.id}/report`;
    if (!token()) window.open(address, "_blank", "noopener");
    else
      await dialog.attempt(async () =>
        download(
          "backtest.html",
          await (await ask("GET", `/backtests/${job.id}/report`, undefined, { raw: true })).text(),
          "text/html",
        ),
      );
  }

  csv() {
    return [
      ["timestamp", "symbol", "rule_id", "rule_name", "price", "strength"],
      ...(this.alerts || []).map((alert) => [
        alert.timestamp,
        alert.symbol,
        alert.rule_id,
        alert.rule_name,
        alert.price,
        alert.strength,
      ]),
    ];
  }
  focus() {
    this.list.focus();
    return true;
  }
}

const card = (value, title) => element("div", { class: "card" }, element("b", {}, value), element("span", {}, title));

function countBy(all, keyOf) {
  const found = new Map();
  for (const one of all) found.set(keyOf(one), (found.get(keyOf(one)) || 0) + 1);
  return found;
}

function halfHourOf(alert) {
  const at = partsOf(msOf(alert.timestamp));
  return `${String(at.hour).padStart(2, "0")}:${at.minute < 30 ? "00" : "30"}`;
}

/** How many there were at each of up to 200 places. */
function running(alerts) {
  const every = Math.max(1, Math.ceil(alerts.length / 200));
  return alerts.map((_, place) => place + 1).filter((count) => count % every === 0 || count === alerts.length);
}

const EDGES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
function distribution(values) {
  if (!values.length) return { kind: "bars", values: [], labels: [] };
  const counts = EDGES.map(
    (edge, place) => values.filter((value) => value <= edge && value > (EDGES[place - 1] ?? -1)).length,
  );
  return { kind: "bars", values: counts, labels: EDGES.map((edge) => `≤${Math.round(edge * 100)}%`) };
}

export const make = (context) => new Backtest(context);
