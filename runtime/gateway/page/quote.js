// One symbol: its price, and the metrics that the user picked, live, with the reason for each that is missing.

import { make as element, put } from "./dom.js";
import { ask } from "./session.js";
import * as socket from "./socket.js";
import * as metrics from "./metrics.js";
import * as dialog from "./dialog.js";
import * as rowactions from "./rowactions.js";
import * as alerts from "./alerts.js";
import { price, percent, valueOf, wordsOf, timeOf, msOf } from "./format.js";

const FIRST = [
  "change_from_close_pct",
  "change_pct_1m",
  "change_pct_5m",
  "change_pct_15m",
  "gap_from_close_pct",
  "volume_daily",
  "relative_volume_daily",
  "dollar_volume_daily",
  "range_pct_today",
  "position_in_range_today",
  "vwap_dist_pct",
  "rsi_14",
  "rsi_14_5m",
  "atr_14",
  "marketcap",
  "float",
  "minutes_since_news",
  "days_until_earnings",
];
const POLL_MS = 2_000;

class Quote {
  constructor(context) {
    this.context = context;
    this.names = context.state.names || FIRST;
    this.head = element("div", { class: "quote-head" });
    this.table = element("div", { class: "metric-table" });
    this.why = element("div", { class: "pad" });
    this.over = element("p", { class: "empty" }, "Choose a symbol: click a row, or type its letters.");
    context.body.append(
      this.over,
      this.head,
      element("div", { class: "scroll", tabIndex: 0, role: "group", "aria-label": "Metrics" }, this.table, this.why),
    );
    this.head.hidden = true;
    context.onSymbol((symbol) => this.show(symbol));
    for (const end of [
      socket.barHeard.on((bar) => {
        if (bar.symbol === this.symbol) this.hear(bar);
      }),
      socket.metricsHeard.on((told) => {
        if (told.symbol === this.symbol) {
          this.heardAt = Date.now();
          this.take(told);
        }
      }),
      () => this.unfollow?.(),
      () => clearInterval(this.timer),
    ])
      context.end(end);
    this.timer = setInterval(() => this.poll(), POLL_MS);
    this.actions = {
      watch: () => this.symbol && (rowactions.toggleWatch(this.symbol), true),
      mute: () => this.symbol && (rowactions.toggleMute(this.symbol), true),
    };
    if (context.symbol()) this.show(context.symbol());
  }

  show(symbol) {
    this.unfollow?.();
    this.symbol = symbol;
    this.values = null;
    this.details = null;
    this.heardAt = 0;
    this.context.title(symbol);
    this.over.hidden = true;
    this.head.hidden = false;
    this.head.replaceChildren(element("b", {}, symbol));
    this.table.replaceChildren();
    this.why.replaceChildren();
    const ends = [socket.followBars(symbol), socket.followMetrics(symbol, this.names)];
    this.unfollow = () => ends.forEach((end) => end());
    this.describe(symbol);
    this.poll();
  }

  async describe(symbol) {
    const found = await metrics.symbols(symbol, 3).catch(() => []);
    if (symbol !== this.symbol) return;
    this.details = found.find((one) => one.symbol === symbol);
    this.write();
  }

  hear(bar) {
    this.bar = bar;
    this.write();
  }

  async poll() {
    if (
      !this.symbol ||
      document.hidden ||
      Date.now() - (this.heardAt || 0) < POLL_MS * 2 ||
      this.isAsking ||
      this.isBlind
    )
      return;
    this.isAsking = true;
    const { symbol } = this;
    try {
      if (!socket.hasBars()) this.hear((await ask("GET", `/symbols/${encodeURIComponent(symbol)}`)).bar);
      this.take(await ask("GET", `/symbols/${encodeURIComponent(symbol)}/metrics?names=${this.names.join(",")}`));
    } catch (error) {
      if (error.isAway && symbol === this.symbol && !this.values) {
        this.isBlind = error.isUnknown;
        put(this.why, this.isBlind ? "This server does not tell the metrics of a symbol." : error.message);
      }
    } finally {
      this.isAsking = false;
    }
  }

  take(told) {
    if (told.symbol && told.symbol !== this.symbol) return;
    this.values = told;
    this.write();
  }

  write() {
    const bar = this.bar?.symbol === this.symbol ? this.bar : null;
    const values = this.values?.metrics || {};
    const change = values.change_from_close_pct;
    const last = bar?.close ?? values.price ?? this.details?.last;
    this.head.replaceChildren(
      ...[
        element("b", {}, this.symbol),
        element("span", { class: "quote-price" }, price(last)),
        element(
          "span",
          { class: change > 0 ? "up" : change < 0 ? "down" : "faint" },
          typeof change === "number" ? percent(change) : "",
        ),
        element("span", { class: "faint" }, [this.details?.name, this.details?.exchange].filter(Boolean).join(" · ")),
      ],
    );
    const missing = this.values?.missing || {};
    this.table.replaceChildren(
      ...this.names.map((name) =>
        element(
          "div",
          { title: missing[name] ? `${name}: ${missing[name]}` : name },
          element("span", {}, wordsOf(name)),
          element(
            values[name] === null || values[name] === undefined ? "span" : "b",
            {},
            values[name] === null || values[name] === undefined
              ? missing[name] || "–"
              : valueOf(name, values[name], metrics.unitOf(name)),
          ),
        ),
      ),
    );
    const heard = alerts.ofSymbol(this.symbol).slice(-6).reverse();
    if (this.values)
      this.why.replaceChildren(
        heard.length ? element("h3", {}, "Newest alerts") : "",
        ...heard.map((entry) =>
          element(
            "p",
            {},
            element("span", { class: "faint" }, `${timeOf(msOf(entry.alert.timestamp))} `),
            entry.alert.rule_name,
          ),
        ),
      );
  }

  focus() {
    return false;
  }

  menu() {
    return [
      {
        text: "Which metrics…",
        act: async () => {
          const text = await dialog.prompt("Metrics", "Names, with spaces or commas between", this.names.join(" "));
          if (!text) return;
          this.names = text
            .split(/[\s,]+/)
            .filter(Boolean)
            .slice(0, 40);
          this.context.save({ names: this.names });
          if (this.symbol) this.show(this.symbol);
        },
      },
      { text: "Why does a rule not fire…", disabled: !this.symbol, act: () => this.explain() },
    ];
  }

  /** Ask of a rule why it does not fire for this symbol. */
  async explain() {
    const id = await dialog.prompt(`Why not, for ${this.symbol}`, "Id or name of a rule");
    if (!id) return;
    await dialog.attempt(async () => {
      const { rules } = await ask("GET", "/rules");
      const rule = rules.find((one) => one.id === id || one.name === id);
      if (!rule) throw new Error(`there is no rule ${id}`);
      const told = await ask("GET", `/rules/${rule.id}/why?symbol=${encodeURIComponent(this.symbol)}`);
      dialog.open(`${rule.name}, ${this.symbol}`, whyNot(told));
    });
  }
}

const TRUTHS = { true: "true", false: "false" };

function whyNot(told) {
  const leaves = told.leaves || [];
  return [
    element(
      "p",
      {},
      element("b", {}, told.fault || told.verdict || ""),
      told.why?.length ? `: ${told.why.join("; ")}` : "",
    ),
    told.english ? element("p", {}, told.english) : null,
    element(
      "table",
      { class: "plain" },
      element(
        "tbody",
        {},
        leaves.map((leaf) =>
          element(
            "tr",
            {},
            element("td", {}, element("code", {}, leaf.text)),
            element(
              "td",
              { class: "number" },
              leaf.value === null || leaf.value === undefined
                ? leaf.reason || leaf.missing || "absent"
                : String(leaf.value),
            ),
            element("td", {}, TRUTHS[leaf.truth] || "unknown"),
          ),
        ),
      ),
    ),
    ...(told.notes || []).map((text) => element("p", { class: "hint" }, text)),
  ];
}

export const make = (context) => new Quote(context);
