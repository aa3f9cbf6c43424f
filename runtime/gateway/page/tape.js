// The alert tape: newest on top, repeats counted, withdrawn ones struck out, each with its explanation.

import { make as element, button, put } from "./dom.js";
import { Grid } from "./table.js";
import * as alerts from "./alerts.js";
import * as clock from "./clock.js";
import * as watch from "./watch.js";
import * as preferences from "./preferences.js";
import * as rowactions from "./rowactions.js";
import * as explain from "./explain.js";
import * as desk from "./desk.js";
import { price, timeMsOf, zoneOf, reasonOf } from "./format.js";

const SHOWN_MAX = 1_500;
const PHONE = matchMedia("(max-width: 719px)");

class Tape {
  constructor(context) {
    this.context = context;
    this.filter = context.state.filter || "";
    this.isPaused = false;
    this.missed = 0;
    this.opened = null;
    this.build();
    for (const end of [
      alerts.heard.on((entry) => this.hear(entry)),
      alerts.gap.on(() => this.show()),
      watch.changed.on(() => this.show()),
      preferences.changed.on((name) => {
        if (name === "mutes" || name === "*") {
          this.chips();
          this.show();
        }
      }),
      () => this.grid.end(),
      () => cancelAnimationFrame(this.frame),
    ])
      context.end(end);
    context.onSymbol((symbol) => {
      this.symbol = symbol;
      if (this.context.state.scope === "linked") this.show();
    });
    this.actions = {
      ...rowactions.keysOf(this.grid, (entry) => entry.alert?.symbol),
      acknowledge: () => this.onRow((entry) => this.acknowledge(entry)),
      explain: () => this.onRow((entry) => this.explain(entry)),
      pause: () => this.pause(!this.isPaused),
      hold: () => this.grid.pin(),
    };
    this.chips();
    this.show();
  }

  build() {
    const { bar, body, state } = this.context;
    this.box = element("input", {
      type: "search",
      value: this.filter,
      placeholder: "Symbol or rule",
      "aria-label": "Filter by symbol or rule",
      size: 14,
      spellcheck: false,
      on: {
        input: (event) => {
          this.filter = event.target.value;
          this.context.save({ filter: this.filter });
          this.show();
        },
      },
    });
    this.scope = element(
      "select",
      {
        "aria-label": "Which symbols",
        on: {
          change: (event) => {
            this.context.save({ scope: event.target.value });
            this.show();
          },
        },
      },
      [
        ["all", "All symbols"],
        ["watchlist", "Watchlist"],
        ["linked", "Linked symbol"],
      ].map(([id, text]) => new Option(text, id)),
    );
    this.scope.value = state.scope || "all";
    this.muted = element("span", { class: "chips" });
    this.held = element("span", { class: "hold push", hidden: true });
    this.pauseButton = button("Pause", () => this.pause(!this.isPaused), {
      "aria-pressed": "false",
      title: "Pause (p)",
      class: "",
    });
    bar.append(this.box, this.scope, this.muted, this.held, this.pauseButton);
    const split = element("div", { class: "tape-split" });
    this.grid = new Grid(split, {
      label: "Alerts",
      columns: this.columns(),
      keyOf: (entry) => entry.key,
      symbolOf: (entry) => entry.alert?.symbol,
      holds: true,
      onPick: (entry) => this.pick(entry),
      onOpen: (entry) => this.pick(entry, true),
      onMenu: (entry, cell) =>
        entry.alert &&
        rowactions.show(cell, entry.alert.symbol, [
          { text: "Explain", hint: "e", act: () => this.explain(entry) },
          {
            text: entry.isAcknowledged ? "Not acknowledged" : "Acknowledge",
            hint: "a",
            act: () => this.acknowledge(entry),
          },
          "-",
        ]),
      rowClass: (entry) => this.rowClass(entry),
      onHold: (waiting, isHeld) => this.tellHold(waiting, isHeld),
    });
    this.panel = element("aside", { class: "explain", hidden: true, tabIndex: -1, "aria-label": "Explanation" });
    split.append(this.panel);
    this.empty = element("p", { class: "empty" });
    body.append(this.empty, split);
  }

  columns() {
    const ms = clock.now() || Date.now();
    const all = [
      {
        id: "time",
        title: `Time (${zoneOf(ms)})`,
        name: "Time",
        width: "94px",
        text: (entry) => timeMsOf(entry.ms),
        hint: (entry) => (entry.alert ? entry.alert.timestamp : ""),
      },
      {
        id: "symbol",
        title: "Symbol",
        width: "72px",
        text: (entry) => entry.alert?.symbol || "",
        tone: () => "symbol",
      },
      {
        id: "rule",
        title: "Alert",
        width: "minmax(132px, 1fr)",
        draw: (cell, entry) => this.drawRule(cell, entry),
        text: (entry) => entry.alert?.rule_name || "gap",
      },
      {
        id: "strength",
        title: "Strength",
        width: "64px",
        align: "right",
        heat: (entry) => Math.min(1, Math.sqrt(entry.alert?.strength || 0)),
        scale: "amount",
        hint: () => "How far beyond its threshold the closest condition is",
        value: (entry) => entry.alert?.strength,
        text: (entry) => (entry.alert?.strength === undefined ? "" : explain.strengthOf(entry.alert.strength)),
      },
      {
        id: "price",
        title: "Price",
        width: "72px",
        align: "right",
        text: (entry) => (entry.alert ? price(entry.alert.price) : ""),
      },
      {
        id: "reason",
        title: "Why",
        width: "minmax(154px, 2.2fr)",
        text: (entry) => whyOf(entry),
        hint: (entry) => whyOf(entry),
        tone: () => "plain",
      },
      {
        id: "today",
        title: "Today",
        width: "50px",
        align: "right",
        text: (entry) => (entry.alert ? String(entry.today) : ""),
        hint: () => "How often this rule fired for this symbol today",
      },
    ];
    return PHONE.matches
      ? ["time", "symbol", "rule", "price", "reason"].map((id) => all.find((one) => one.id === id))
      : all;
  }

  drawRule(cell, entry) {
    const times = entry.count > 1 ? `×${entry.count}` : "";
    const kind = entry.alert && entry.alert.kind !== "fired" ? entry.alert.kind : "";
    const name = entry.alert ? entry.alert.rule_name : "Missing";
    const stamp = `${name} ${times} ${kind}`;
    if (cell.drawn === stamp) return;
    cell.drawn = stamp;
    cell.title = kind ? `${name}: ${kind}` : name;
    cell.replaceChildren(
      name,
      times ? element("span", { class: "times" }, times) : "",
      kind ? element("span", { class: "times" }, kind) : "",
    );
  }

  // -- what is shown

  wants(entry) {
    if (entry.gap) return !this.filter;
    const { alert } = entry;
    if (rowactions.isMuted(alert.symbol)) return false;
    const scope = this.scope.value;
    if (scope === "watchlist" && !watch.has(alert.symbol)) return false;
    if (scope === "linked" && alert.symbol !== (this.symbol || this.context.symbol())) return false;
    const wanted = this.filter.trim().toLowerCase();
    return (
      !wanted ||
      alert.symbol.toLowerCase() === wanted ||
      (wanted.length > 1 &&
        (alert.symbol.toLowerCase().startsWith(wanted) || alert.rule_name.toLowerCase().includes(wanted)))
    );
  }

  hear(entry) {
    if (this.opened === entry) this.explain(entry, false);
    if (this.isPaused) {
      this.missed += 1;
      put(this.pauseButton, `Go on +${this.missed}`);
      return;
    }
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.show();
    });
  }

  show() {
    if (this.isPaused) return;
    const shown = alerts
      .entries()
      .filter((entry) => this.wants(entry))
      .slice(0, SHOWN_MAX);
    this.empty.hidden = shown.length > 0;
    put(
      this.empty,
      alerts.entries().length ? "No alert here fits the filter." : "No alert yet. Rules fire when they turn true.",
    );
    const zone = zoneOf(clock.now() || Date.now());
    if (zone !== this.zone) {
      this.zone = zone;
      this.grid.setColumns(this.columns());
    }
    this.grid.setRows(shown);
  }

  rowClass(entry) {
    if (entry.gap) return "gap";
    const { alert } = entry;
    return [
      alert.kind === "withdrawn" ? "withdrawn" : "",
      entry.isAcknowledged ? "done" : "fresh",
      entry.isLate ? "late" : "",
    ]
      .filter(Boolean)
      .join(" ");
  }

  tellHold(waiting, isHeld) {
    if (!this.held) return;
    this.held.hidden = !(isHeld && waiting);
    put(this.held, waiting ? `Held, ${waiting} wait` : "");
  }

  chips() {
    this.muted.replaceChildren(
      ...preferences.get("mutes").map((symbol) =>
        button(`${symbol} ✕`, () => rowactions.toggleMute(symbol), {
          class: "chip",
          "aria-label": `${symbol} is muted; let it be heard again`,
          title: "Muted",
        }),
      ),
    );
  }

  // -- what can be done

  onRow(act) {
    const entry = this.grid.activeRow;
    if (!entry?.alert) return false;
    act(entry);
    return true;
  }

  pick(entry, isOpened = false) {
    if (!entry.alert) return;
    this.grid.select(entry.key);
    this.context.pick(entry.alert.symbol);
    if (!isOpened || this.opened) this.explain(entry, false);
  }

  acknowledge(entry) {
    alerts.acknowledge(entry);
    this.grid.request();
    if (this.opened === entry) this.explain(entry, false);
  }

  explain(entry, isFocused = true) {
    this.opened = entry;
    this.grid.select(entry.key);
    this.panel.replaceChildren(
      ...explain.panel(entry, {
        close: () => {
          this.panel.hidden = true;
          this.opened = null;
          this.grid.focus();
        },
        acknowledge: () => this.acknowledge(entry),
        showRule: (id) => desk.reveal("rules", (rules) => rules?.open?.(id)),
      }),
    );
    this.panel.hidden = false;
    if (isFocused) this.panel.focus();
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    this.missed = 0;
    this.pauseButton.setAttribute("aria-pressed", String(isPaused));
    put(this.pauseButton, isPaused ? "Go on" : "Pause");
    if (!isPaused) this.show();
  }

  focus() {
    return this.grid.focus();
  }
  csv() {
    return [
      ["timestamp", "symbol", "rule_id", "rule_name", "kind", "strength", "price", "why", "count", "seq", "id"],
      ...this.grid.rows
        .filter((entry) => entry.alert)
        .map((entry) => [
          entry.alert.timestamp,
          entry.alert.symbol,
          entry.alert.rule_id,
          entry.alert.rule_name,
          entry.alert.kind,
          entry.alert.strength,
          entry.alert.price,
          reasonOf(entry.alert),
          entry.count,
          entry.alert.seq,
          entry.alert.id,
        ]),
    ];
  }
  menu() {
    return [
      {
        text: "Acknowledge all",
        act: () => {
          for (const entry of this.grid.rows) if (entry.alert) entry.isAcknowledged = true;
          this.grid.request();
        },
      },
    ];
  }
}

const whyOf = (entry) =>
  entry.alert
    ? reasonOf(entry.alert)
    : `Alerts ${entry.gap.from} to ${entry.gap.to} are no longer held here; history has them.`;

export const make = (context) => new Tape(context);
