// The chart: candles of the linked symbol with sessions shaded, alerts marked and the running bar live.

import { make as element, button, put } from "./dom.js";
import { ask } from "./session.js";
import * as socket from "./socket.js";
import * as alerts from "./alerts.js";
import * as clock from "./clock.js";
import { repainted } from "./appearance.js";
import { price, compact, percent, msOf, timeOf, minuteOf, dayOf } from "./format.js";
import { Candles, FRAMES } from "./candles.js";

const POLL_MS = 1_000;

class ChartWindow {
  constructor(context) {
    this.context = context;
    this.frame = context.state.timeframe || "1m";
    this.symbol = context.state.symbol || "";
    this.buttons = FRAMES.map(([id]) =>
      button(id, () => this.choose(id), {
        "aria-pressed": String(id === this.frame),
        "aria-label": `Candles of ${id}`,
      }),
    );
    this.title = element("b", { class: "chart-symbol" });
    context.bar.append(
      element("div", { class: "segments", role: "group", "aria-label": "Timeframe" }, this.buttons),
      button("Fit", () => this.candles?.fit(), { class: "push", title: "Show all candles" }),
    );
    this.host = element("div", { class: "chart" });
    this.legend = element("div", { class: "legend" });
    this.over = element("p", { class: "over" }, "Choose a symbol: click a row, or type its letters.");
    this.credit = element(
      "p",
      { class: "chart-credit" },
      element(
        "a",
        { href: "https://www.tradingview.com/", target: "_blank", rel: "noopener" },
        "Charts by TradingView",
      ),
    );
    context.body.append(this.host);
    this.host.append(this.legend, this.over, this.credit);
    context.onSymbol((symbol) => this.show(symbol));
    for (const end of [
      socket.barHeard.on((bar) => {
        if (bar.symbol === this.symbol) this.live(bar);
      }),
      alerts.heard.on((entry) => {
        if (entry.alert.symbol === this.symbol) this.mark();
      }),
      repainted.on(() => this.candles?.recolor()),
      () => this.unfollow?.(),
      () => {
        this.isOver = true;
        if (!this.candles?.isOver) this.candles?.end();
      },
      () => clearInterval(this.polling),
    ])
      context.end(end);
    this.polling = setInterval(() => this.poll(), POLL_MS);
    this.actions = {};
    const first = context.symbol() || this.symbol;
    if (first) this.show(first);
  }

  async show(symbol) {
    this.unfollow?.();
    this.symbol = symbol;
    this.context.save({ symbol });
    this.context.title(`Chart ${symbol}`);
    this.unfollow = socket.followBars(symbol);
    this.newest = null;
    this.candles?.set([], this.frame);
    this.tell();
    await this.load();
  }

  choose(frame) {
    this.frame = frame;
    this.context.save({ timeframe: frame });
    for (const one of this.buttons) one.setAttribute("aria-pressed", String(one.textContent === frame));
    if (this.symbol) this.load();
  }

  async load() {
    const wanted = `${this.symbol} ${this.frame}`;
    this.wanted = wanted;
    let bars = [];
    let fault = "";
    try {
      const [told] = await Promise.all([
        ask("GET", `/bars/${encodeURIComponent(this.symbol)}?timeframe=${this.frame}&limit=1000`),
        this.ready(),
      ]);
      bars = told.bars;
    } catch (error) {
      fault = error.isAway ? "No history is kept here: the chart begins now." : error.message;
      await this.ready();
    }
    if (this.wanted !== wanted) return;
    this.candles.set(bars, this.frame);
    this.mark();
    put(this.over, fault && !bars.length ? fault : bars.length ? "" : `No bars of ${this.symbol} yet.`);
    if (this.newest?.symbol === this.symbol) this.live(this.newest);
    this.tell();
  }

  async ready() {
    this.opening ??= Candles.open(this.host, (bar) => this.tell(bar)); // one chart, however many loads are under way
    this.candles = await this.opening;
    if (this.isOver && !this.candles.isOver) this.candles.end();
  }

  live(bar) {
    this.newest = bar;
    if (!this.candles || this.wanted !== `${this.symbol} ${this.frame}`) return;
    clock.note(Math.min(msOf(bar.timestamp), clock.now() || Infinity));
    this.candles.update(bar);
    put(this.over, "");
    this.tell();
  }

  /** Where running bars cannot be followed they are asked for. */
  async poll() {
    if (socket.hasBars() || !this.symbol || document.hidden || socket.condition() !== "open" || this.isAsking) return;
    this.isAsking = true;
    try {
      const { bar } = await ask("GET", `/symbols/${encodeURIComponent(this.symbol)}`);
      if (bar?.symbol === this.symbol) this.live(bar);
    } catch {
      /* it has no running bar */
    } finally {
      this.isAsking = false;
    }
  }

  mark() {
    this.candles?.mark(
      alerts.ofSymbol(this.symbol).map((entry) => ({
        ms: entry.ms,
        text: entry.alert.rule_name,
        isWithdrawn: entry.alert.kind === "withdrawn",
        isDown: /down|low|fall|below|under|los/i.test(entry.alert.rule_name),
      })),
    );
  }

  tell(bar = this.candles?.last) {
    if (!bar) {
      this.legend.replaceChildren(element("b", {}, this.symbol));
      return;
    }
    const change = ((bar.close - bar.open) / bar.open) * 100;
    const at = this.frame === "1d" ? dayOf(bar.ms) : `${dayOf(bar.ms)} ${minuteOf(bar.ms)}`;
    const words = [
      ["O", price(bar.open)],
      ["H", price(bar.high)],
      ["L", price(bar.low)],
      ["C", price(bar.close)],
      ["Vol", compact(bar.volume)],
    ];
    this.legend.replaceChildren(
      element("b", {}, this.symbol),
      element("span", { class: "faint" }, at),
      ...words.map(([name, value]) => element("span", {}, element("span", { class: "faint" }, `${name} `), value)),
      element("span", { class: change > 0 ? "up" : change < 0 ? "down" : "" }, percent(change)),
    );
    this.host.setAttribute(
      "aria-label",
      `${this.symbol}, candles of ${this.frame}; last ${price(bar.close)} at ${timeOf(bar.ms)}`,
    );
  }

  focus() {
    this.candles?.focus();
    return Boolean(this.candles);
  }

  csv() {
    return [
      ["timestamp", "open", "high", "low", "close", "volume"],
      ...(this.candles?.bars || []).map((bar) => [
        new Date(bar.ms).toISOString(),
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
      ]),
    ];
  }
}

export const make = (context) => new ChartWindow(context);
