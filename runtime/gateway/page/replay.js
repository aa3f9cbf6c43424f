// A recorded session again: its alerts and a symbol's bars, played in the page at any speed.

import { make as element, button, field, choice, put } from "./dom.js";
import { Grid } from "./table.js";
import { ask } from "./session.js";
import * as clock from "./clock.js";
import { Candles } from "./candles.js";
import { repainted } from "./appearance.js";
import { price, timeMsOf, timeOf, dayOf, momentOf, msOf, reasonOf, zoneOf } from "./format.js";

const PAGE = 1_000;
const ALERTS_MAX = 20_000;
const TICK_MS = 100;
const SPEEDS = [
  ["1", "1×"],
  ["5", "5×"],
  ["20", "20×"],
  ["60", "60×"],
  ["300", "300×"],
  ["1200", "1200×"],
];

class Replay {
  constructor(context) {
    this.context = context;
    this.alerts = [];
    this.bars = [];
    this.at = 0;
    this.isPlaying = false;
    this.build();
    context.end(() => {
      clearInterval(this.timer);
      this.grid.end();
      this.isOver = true;
      if (!this.candles?.isOver) this.candles?.end();
    });
    context.end(repainted.on(() => this.candles?.recolor()));
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.actions = { pause: () => this.play(!this.isPlaying), focus: () => this.grid.focus() };
  }

  build() {
    const today = clock.now() || Date.now();
    const { state } = this.context;
    this.day = element("input", { type: "date", value: state.day || dayOf(today), required: true });
    this.from = element("input", { type: "time", value: state.from || "09:30", required: true });
    this.to = element("input", { type: "time", value: state.to || "16:00", required: true });
    this.speed = choice(SPEEDS, state.speed || "60", (speed) => this.context.save({ speed }), {
      "aria-label": "Speed",
    });
    this.fault = element("p", { class: "faint", role: "status" });
    const form = element(
      "form",
      {
        class: "form-line",
        on: {
          submit: (event) => {
            event.preventDefault();
            this.load();
          },
        },
      },
      field("Day", this.day),
      field("From (New York)", this.from),
      field("To", this.to),
      element("button", { type: "submit", class: "primary" }, "Load"),
      this.fault,
    );
    form.classList.add("row-form");
    this.playButton = button("Play", () => this.play(!this.isPlaying), { disabled: true, "aria-pressed": "false" });
    this.slider = element("input", {
      type: "range",
      min: 0,
      max: 1000,
      value: 0,
      "aria-label": "Place in the session",
      disabled: true,
      on: { input: () => this.seek(this.start + (Number(this.slider.value) / 1000) * (this.end - this.start)) },
    });
    this.shown = element("b", {}, "--:--:--");
    this.left = element("div", {});
    this.host = element("div", { class: "chart" });
    this.legend = element(
      "div",
      { class: "legend" },
      element("span", { class: "faint" }, "Pick an alert to see its symbol"),
    );
    this.host.append(
      this.legend,
      element(
        "p",
        { class: "chart-credit" },
        element(
          "a",
          { href: "https://www.tradingview.com/", target: "_blank", rel: "noopener" },
          "Charts by TradingView",
        ),
      ),
    );
    this.context.body.append(
      form,
      element("div", { class: "replay-clock" }, this.playButton, this.speed, this.slider, this.shown),
      element("div", { class: "replay-split" }, this.left, element("div", {}, this.host)),
    );
    this.grid = new Grid(this.left, {
      label: "Alerts of the session",
      keyOf: (alert) => `${alert.seq ?? ""} ${alert.id} ${alert.kind}`,
      symbolOf: (alert) => alert.symbol,
      onPick: (alert) => this.choose(alert.symbol),
      rowClass: (alert) => (alert.kind === "withdrawn" ? "withdrawn" : ""),
      columns: [
        { id: "time", title: "Time", width: "96px", text: (alert) => timeMsOf(alert.ms) },
        { id: "symbol", title: "Symbol", width: "70px", text: (alert) => alert.symbol, tone: () => "symbol" },
        {
          id: "rule",
          title: "Alert",
          width: "minmax(120px, 1fr)",
          text: (alert) =>
            alert.kind && alert.kind !== "fired" ? `${alert.rule_name} (${alert.kind})` : alert.rule_name,
          hint: reasonOf,
        },
        { id: "price", title: "Price", width: "72px", align: "right", text: (alert) => price(alert.price) },
      ],
    });
  }

  async load() {
    this.play(false);
    const [start, end] = [momentOf(this.day.value, this.from.value), momentOf(this.day.value, this.to.value)];
    if (!(end > start)) return put(this.fault, "To: expected a time after From");
    this.context.save({ day: this.day.value, from: this.from.value, to: this.to.value });
    put(this.fault, "Reading…");
    try {
      this.alerts = (await this.read(start, end))
        .map((alert) => ({ ...alert, ms: msOf(alert.timestamp) }))
        .sort((a, b) => a.ms - b.ms || (a.seq || 0) - (b.seq || 0));
    } catch (error) {
      return put(this.fault, error.message);
    }
    Object.assign(this, { start, end });
    put(this.fault, this.alerts.length ? `${this.alerts.length} alerts` : "No alert is kept of that time.");
    this.playButton.disabled = false;
    this.slider.disabled = false;
    this.symbol = null;
    if (this.alerts.length) this.choose(this.context.symbol() || this.alerts[0].symbol);
    this.seek(start);
    return this.play(true);
  }

  async read(start, end) {
    const found = [];
    const span = `start_time=${new Date(start).toISOString()}&end_time=${new Date(end).toISOString()}`;
    while (found.length < ALERTS_MAX) {
      const told = await ask("GET", `/alerts?${span}&limit=${PAGE}&offset=${found.length}`);
      found.push(...told.alerts);
      put(this.fault, `Reading… ${found.length} alerts`);
      if (told.alerts.length < PAGE) break;
    }
    return found;
  }

  async choose(symbol) {
    if (symbol === this.symbol) return undefined;
    this.symbol = symbol;
    this.context.pick(symbol);
    put(this.legend, "");
    this.legend.append(element("b", {}, symbol));
    try {
      this.opening ??= Candles.open(this.host);
      this.candles = await this.opening;
      if (this.isOver) return this.candles.isOver || this.candles.end();
      const told = await ask(
        "GET",
        `/bars/${encodeURIComponent(symbol)}?timeframe=1m&from=${new Date(this.start - 3_600_000).toISOString()}&to=${new Date(this.end).toISOString()}&limit=1000`,
      );
      if (this.symbol !== symbol) return undefined;
      this.bars = told.bars.map((bar) => ({ ...bar, ms: msOf(bar.timestamp) })).sort((a, b) => a.ms - b.ms);
      if (!this.bars.length) this.legend.append(element("span", { class: "faint" }, "no bars of that time"));
    } catch (error) {
      this.bars = [];
      this.legend.append(
        element("span", { class: "faint" }, error.isAway ? "no history of bars is kept here" : error.message),
      );
    }
    this.drawn = null;
    return this.draw();
  }

  play(isPlaying) {
    this.isPlaying = isPlaying && this.alerts.length > 0;
    if (this.isPlaying && this.at >= this.end) this.seek(this.start);
    put(this.playButton, this.isPlaying ? "Pause" : "Play");
    this.playButton.setAttribute("aria-pressed", String(this.isPlaying));
    this.tickedAt = performance.now();
    return true;
  }

  tick() {
    if (!this.isPlaying) return;
    const now = performance.now();
    this.seek(Math.min(this.end, this.at + (now - this.tickedAt) * Number(this.speed.value)));
    this.tickedAt = now;
    if (this.at >= this.end) this.play(false);
  }

  /** Everything as it was at a moment. */
  seek(ms) {
    this.at = ms;
    put(this.shown, `${timeOf(ms)} ${zoneOf(ms)}`);
    const place = Math.round(((ms - this.start) / (this.end - this.start)) * 1000);
    if (document.activeElement !== this.slider || this.isPlaying) this.slider.value = String(place);
    this.slider.setAttribute("aria-valuetext", timeOf(ms));
    let count = 0;
    while (count < this.alerts.length && this.alerts[count].ms <= ms) count += 1;
    if (count !== this.said || ms === this.start) this.grid.setRows(this.alerts.slice(0, count).reverse());
    this.said = count;
    this.draw();
  }

  draw() {
    if (!this.candles || this.candles.isOver) return;
    const shown = this.bars.filter((bar) => bar.ms + 60_000 <= this.at);
    const stamp = `${this.symbol} ${shown.length} ${this.said}`;
    if (stamp === this.drawn) return;
    const isOn =
      this.drawn?.startsWith(`${this.symbol} `) &&
      shown.length &&
      this.candles.bars.length &&
      shown.length >= this.candles.bars.length;
    this.drawn = stamp;
    if (isOn) for (const bar of shown.slice(this.candles.bars.length)) this.candles.update(bar);
    else this.candles.set(shown, "1m");
    this.candles.mark(
      this.alerts
        .slice(0, this.said)
        .filter((alert) => alert.symbol === this.symbol)
        .map((alert) => ({
          ms: alert.ms,
          text: alert.rule_name,
          isWithdrawn: alert.kind === "withdrawn",
          isDown: /down|low|fall|below|under/i.test(alert.rule_name),
        })),
    );
  }

  focus() {
    return this.grid.focus() || (this.day.focus(), true);
  }
  csv() {
    return [
      ["timestamp", "symbol", "rule_name", "kind", "price"],
      ...this.alerts.map((alert) => [alert.timestamp, alert.symbol, alert.rule_name, alert.kind, alert.price]),
    ];
  }
}

export const make = (context) => new Replay(context);
