// Candles on a canvas: lightweight-charts, with New York's clock, sessions shaded and marks.

import { make } from "./dom.js";
import { color } from "./appearance.js";
import { offsetOf, msOf } from "./format.js";
import { sessionAt } from "./clock.js";

/** Timeframes, and their minutes. */
export const FRAMES = [
  ["1m", 1],
  ["2m", 2],
  ["5m", 5],
  ["15m", 15],
  ["30m", 30],
  ["1h", 60],
  ["4h", 240],
  ["1d", 1440],
];
const LIBRARY = "./vendor/lightweight-charts/lightweight-charts.standalone.production.mjs";
const RETRY_MS = 2_000;
const SHOWN = 140; // candles at first

let library = null;

/** Seconds as the chart counts them: New York's clock as if it were UTC. */
const shifted = (ms) => Math.floor((ms + offsetOf(ms)) / 1000);

/** Shades premarket and postmarket behind the candles. */
class Shading {
  constructor(owner) {
    this.owner = owner;
  }
  attached({ chart, requestUpdate }) {
    this.chart = chart;
    this.request = requestUpdate;
  }
  updateAllViews() {}
  paneViews() {
    return [
      {
        zOrder: () => "bottom",
        renderer: () => ({ draw: (target) => target.useBitmapCoordinateSpace((scope) => this.draw(scope)) }),
      },
    ];
  }
  draw({ context, bitmapSize, horizontalPixelRatio: ratio }) {
    if (this.owner.frame === "1d") return;
    const scale = this.chart.timeScale();
    const width = scale.options().barSpacing;
    for (const { from, to, name } of this.owner.spans) {
      const [left, right] = [scale.timeToCoordinate(from), scale.timeToCoordinate(to)];
      if (left === null || right === null) continue;
      context.fillStyle = color(name === "premarket" ? "shade-pre" : "shade-post");
      context.fillRect((left - width / 2) * ratio, 0, (right - left + width) * ratio, bitmapSize.height);
    }
  }
}

/** The library, asked for until it comes: a connection may be cut while the page is loading. */
async function fetched() {
  for (let tries = 0; ; tries += 1) {
    try {
      return await import(`${LIBRARY}${tries ? `?try=${tries}` : ""}`); // a browser keeps a failure by its address
    } catch (error) {
      console.warn("charts could not be loaded; trying again", error);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

export class Candles {
  /** A chart in an element; `onHover` is told the bar under the pointer, or nothing. */
  static async open(host, onHover) {
    library ??= await fetched();
    return new Candles(host, onHover);
  }

  constructor(host, onHover = () => {}) {
    this.bars = [];
    this.byTime = new Map();
    this.spans = [];
    this.frame = "1m";
    this.element = make("div", {
      class: "chart-canvas",
      tabIndex: 0,
      role: "group",
      "aria-label": "Candles. Arrow keys move, plus and minus zoom.",
    });
    host.append(this.element);
    this.chart = library.createChart(this.element, { autoSize: true, ...this.options() });
    this.candles = this.chart.addSeries(library.CandlestickSeries, this.candleOptions());
    this.volume = this.chart.addSeries(library.HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.13, bottom: 0.2 } });
    this.markers = library.createSeriesMarkers(this.candles, []);
    this.chart.panes()[0].attachPrimitive(new Shading(this));
    this.chart.subscribeCrosshairMove((event) => onHover(event.time ? this.byTime.get(event.time) : this.last));
    this.room = new ResizeObserver(() => {
      if (!this.isPlaced) requestAnimationFrame(() => this.begin());
    });
    this.room.observe(this.element);
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  end() {
    this.isOver = true;
    this.room.disconnect();
    this.chart.remove();
  }
  focus() {
    this.element.focus();
  }
  fit() {
    if (!this.isOver) this.chart.timeScale().fitContent();
  }
  get last() {
    return this.bars[this.bars.length - 1];
  }

  options() {
    return {
      layout: {
        background: { color: "transparent" },
        textColor: color("faint"),
        fontSize: 11,
        fontFamily: getComputedStyle(document.body).fontFamily,
        attributionLogo: false,
        panes: { separatorColor: color("line") },
      },
      grid: { vertLines: { color: color("line") }, horzLines: { color: color("line") } },
      rightPriceScale: { borderColor: color("line") },
      timeScale: { borderColor: color("line"), timeVisible: true, secondsVisible: false, rightOffset: 6 },
      crosshair: {
        mode: 0,
        vertLine: { color: color("faint"), labelBackgroundColor: color("line-strong") },
        horzLine: { color: color("faint"), labelBackgroundColor: color("line-strong") },
      },
    };
  }

  candleOptions() {
    const [up, down] = [color("up"), color("down")];
    return { upColor: up, downColor: down, borderVisible: false, wickUpColor: up, wickDownColor: down };
  }

  recolor() {
    if (this.isOver) return;
    this.chart.applyOptions(this.options());
    this.candles.applyOptions(this.candleOptions());
    this.volume.setData(this.bars.map((bar) => this.volumeOf(bar)));
    this.mark(this.marks || []);
  }

  volumeOf(bar) {
    return { time: bar.time, value: bar.volume, color: `${color(bar.close >= bar.open ? "up" : "down")}66` };
  }
  candleOf({ time, open, high, low, close }) {
    return { time, open, high, low, close };
  }

  timeOf(ms) {
    const minutes = FRAMES.find(([id]) => id === this.frame)[1];
    const seconds = shifted(ms);
    return this.frame === "1d"
      ? Math.floor(seconds / 86_400) * 86_400
      : Math.floor(seconds / (minutes * 60)) * minutes * 60;
  }

  /** All bars of a timeframe, oldest or newest first. */
  set(told, frame) {
    if (this.isOver) return; // what was asked for came after the window was closed
    this.frame = frame;
    const bars = told.map((bar) => ({ ...bar, ms: msOf(bar.timestamp) })).sort((a, b) => a.ms - b.ms);
    this.byTime = new Map();
    for (const bar of bars) this.byTime.set(this.timeOf(bar.ms), { ...bar, time: this.timeOf(bar.ms) });
    this.bars = [...this.byTime.values()].sort((a, b) => a.time - b.time);
    this.minute = null;
    this.chart.timeScale().applyOptions({ timeVisible: frame !== "1d" });
    this.candles.setData(this.bars.map((bar) => this.candleOf(bar)));
    this.volume.setData(this.bars.map((bar) => this.volumeOf(bar)));
    const decimals = this.last && this.last.close < 1 ? 4 : 2;
    this.candles.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    this.shade();
    this.begin();
  }

  /** The newest candles; again once there is room, where the window was hidden. */
  begin() {
    if (this.isOver) return;
    this.isPlaced = this.element.clientWidth > 0;
    if (this.isPlaced)
      this.chart.timeScale().setVisibleLogicalRange({
        from: Math.max(-2, this.bars.length - SHOWN),
        to: Math.max(this.bars.length + 4, 30),
      });
  }

  /** The running bar of a minute: folded into the last candle, or a new one. */
  update(told) {
    if (this.isOver) return;
    const ms = msOf(told.timestamp);
    const time = this.timeOf(ms);
    const last = this.last;
    if (last && time < last.time) return;
    if (!this.minute || this.minute.ms !== ms) {
      // A candle that was still running when it was read has the first part of this minute's volume in it.
      const counted = !this.minute && last?.is_running ? told.volume : 0;
      this.minute = { ms, counted, before: last?.time === time && this.frame !== "1m" ? { ...last } : null };
    }
    const { before, counted } = this.minute;
    const bar = before
      ? {
          ...before,
          high: Math.max(before.high, told.high),
          low: Math.min(before.low, told.low),
          close: told.close,
          volume: before.volume + told.volume - counted,
        }
      : { ...told, ms, time };
    if (last?.time === time) this.bars[this.bars.length - 1] = bar;
    else this.bars.push(bar);
    this.byTime.set(time, bar);
    this.candles.update(this.candleOf(bar));
    this.volume.update(this.volumeOf(bar));
    if (last?.time !== time) this.shade();
  }

  shade() {
    this.spans = [];
    for (const bar of this.bars) {
      const { name } = sessionAt(bar.ms);
      if (name !== "premarket" && name !== "postmarket") continue;
      const span = this.spans[this.spans.length - 1];
      if (span?.name === name && bar.ms - span.ms < 4 * 3_600_000) Object.assign(span, { to: bar.time, ms: bar.ms });
      else this.spans.push({ from: bar.time, to: bar.time, ms: bar.ms, name });
    }
  }

  /** Alerts: {ms, text, isDown, isWithdrawn}; several of one candle are one mark with a number. */
  mark(marks) {
    this.marks = marks;
    if (this.isOver) return;
    const byTime = new Map();
    for (const one of marks) {
      const time = this.timeOf(one.ms);
      if (this.byTime.has(time)) byTime.set(time, [...(byTime.get(time) || []), one]);
    }
    this.markers.setMarkers(
      [...byTime]
        .sort((a, b) => a[0] - b[0])
        .map(([time, all]) => {
          const [one] = all;
          return {
            time,
            position: one.isDown ? "aboveBar" : "belowBar",
            shape: one.isDown ? "arrowDown" : "arrowUp",
            color: color(all.every((each) => each.isWithdrawn) ? "faint" : "warn"),
            text: all.length > 1 ? String(all.length) : "",
            size: 1,
          };
        }),
    );
  }

  key(event) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range) return;
    const width = range.to - range.from;
    const moves = {
      ArrowLeft: [-width * 0.1, -width * 0.1],
      ArrowRight: [width * 0.1, width * 0.1],
      "+": [width * 0.1, -width * 0.1],
      "=": [width * 0.1, -width * 0.1],
      "-": [-width * 0.12, width * 0.12],
    };
    const move = moves[event.key];
    if (event.key === "Home") this.fit();
    else if (event.key === "End") scale.scrollToRealTime();
    else if (move) scale.setVisibleLogicalRange({ from: range.from + move[0], to: range.to + move[1] });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
