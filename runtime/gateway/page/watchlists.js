// A watchlist: its symbols live, added by name, by key or by dragging them here.

import { make as element, button, put } from "./dom.js";
import { Grid } from "./table.js";
import { ask } from "./session.js";
import * as watch from "./watch.js";
import * as socket from "./socket.js";
import * as sparks from "./sparks.js";
import * as dialog from "./dialog.js";
import * as rowactions from "./rowactions.js";
import { price, percent, compact, msOf } from "./format.js";
import { repainted } from "./appearance.js";

const NAMES = "change_from_close_pct,volume_daily";
const FOLLOWED_MAX = 100; // running bars of so many symbols
const POLL_MS = 1_000;
const METRICS_MS = 15_000;

class Watchlist {
  constructor(context) {
    this.context = context;
    this.values = new Map(); // symbol -> {price, change, volume, metricsAt}
    this.follows = new Map();
    this.chooser = element("select", {
      "aria-label": "Watchlist",
      on: { change: (event) => this.choose(event.target.value) },
    });
    this.box = element("input", {
      size: 7,
      placeholder: "Add",
      "aria-label": "Add a symbol",
      spellcheck: false,
      autocapitalize: "characters",
      class: "push",
    });
    const form = element(
      "form",
      {
        class: "inline",
        on: {
          submit: (event) => {
            event.preventDefault();
            this.add(this.box.value.trim().toUpperCase());
            this.box.value = "";
          },
        },
      },
      this.box,
    );
    form.classList.add("push");
    context.bar.append(this.chooser, form);
    this.grid = new Grid(context.body, {
      label: "Watchlist",
      columns: this.columns(),
      keyOf: (row) => row.symbol,
      symbolOf: (row) => row.symbol,
      holds: false,
      onPick: (row) => {
        this.grid.select(row.symbol);
        context.pick(row.symbol);
      },
      onMenu: (row, cell) =>
        rowactions.show(cell, row.symbol, [
          { text: "Take off this list", danger: true, act: () => this.remove(row.symbol) },
          "-",
        ]),
    });
    this.empty = element(
      "p",
      { class: "empty", hidden: true },
      "Nothing here yet. Add a symbol above, drag one here, or press w on a row.",
    );
    context.body.append(this.empty);
    this.dropping(context.element);
    for (const end of [
      watch.changed.on(() => this.show()),
      socket.barHeard.on((bar) => this.hear(bar)),
      sparks.changed.on(() => this.grid.request()),
      repainted.on(() => this.grid.repaint()),
      () => this.grid.end(),
      () => {
        for (const end of this.follows.values()) end();
      },
      () => clearInterval(this.timer),
    ])
      context.end(end);
    context.onSymbol((symbol) => this.grid.select(symbol));
    this.timer = setInterval(() => this.poll(), POLL_MS);
    this.actions = { ...rowactions.keysOf(this.grid, (row) => row.symbol) };
    watch
      .load()
      .then(() => this.show())
      .catch((error) => put(this.empty, error.message));
  }

  columns() {
    const value = (row) => this.values.get(row.symbol) || {};
    return [
      {
        id: "symbol",
        title: "Symbol",
        width: "minmax(62px, 1fr)",
        text: (row) => row.symbol,
        tone: () => "symbol",
        sort: (row) => row.symbol,
      },
      {
        id: "price",
        title: "Price",
        width: "minmax(64px, 1fr)",
        align: "right",
        text: (row) => price(value(row).price),
        flash: (row) => value(row).price,
        sort: (row) => value(row).price,
      },
      {
        id: "change",
        title: "Change",
        name: "Change from the close",
        width: "minmax(66px, 1fr)",
        align: "right",
        text: (row) => percent(value(row).change),
        tone: (row) => (value(row).change > 0 ? "up" : value(row).change < 0 ? "down" : ""),
        sort: (row) => value(row).change,
      },
      {
        id: "volume",
        title: "Volume",
        width: "minmax(56px, 1fr)",
        align: "right",
        text: (row) => compact(value(row).volume),
        sort: (row) => value(row).volume,
      },
      { id: "spark", title: "Today", width: "minmax(60px, 1fr)", draw: (cell, row) => sparks.draw(cell, row.symbol) },
    ];
  }

  get list() {
    return watch.lists().find((one) => one.id === this.context.state.list) || watch.current();
  }

  choose(id) {
    this.context.save({ list: id });
    watch.choose(id);
    this.show();
  }

  show() {
    const { list } = this;
    if (!list) return;
    this.chooser.replaceChildren(...watch.lists().map((one) => new Option(one.name, one.id)));
    this.chooser.value = list.id;
    this.context.title(list.name);
    this.empty.hidden = list.symbols.length > 0;
    this.follow(list.symbols);
    this.grid.setRows(list.symbols.map((symbol) => ({ symbol })));
  }

  follow(symbols) {
    for (const [symbol, end] of this.follows) {
      if (symbols.includes(symbol)) continue;
      end();
      this.follows.delete(symbol);
    }
    for (const symbol of symbols.slice(0, FOLLOWED_MAX))
      if (!this.follows.has(symbol)) this.follows.set(symbol, socket.followBars(symbol));
  }

  hear(bar) {
    if (!this.follows.has(bar.symbol)) return;
    const known = this.values.get(bar.symbol) || {};
    const change = known.close ? (bar.close / known.close - 1) * 100 : known.change;
    this.values.set(bar.symbol, { ...known, price: bar.close, change });
    sparks.note(bar.symbol, msOf(bar.timestamp), bar.close);
    this.grid.request();
  }

  /** What running bars do not tell, one symbol at a time; the bars as well where they cannot be followed. */
  async poll() {
    if (this.isAsking || document.hidden || socket.condition() !== "open" || !this.list?.symbols.length) return;
    this.isAsking = true;
    this.place = ((this.place ?? -1) + 1) % this.list.symbols.length;
    const symbol = this.list.symbols[this.place];
    try {
      if (!socket.hasBars()) this.hear((await ask("GET", `/symbols/${encodeURIComponent(symbol)}`)).bar);
      const known = this.values.get(symbol) || {};
      if (!this.isBlind && Date.now() - (known.metricsAt || 0) > METRICS_MS) {
        const { metrics } = await ask("GET", `/symbols/${encodeURIComponent(symbol)}/metrics?names=${NAMES}`);
        const change = metrics.change_from_close_pct ?? undefined;
        const now = this.values.get(symbol) || {};
        this.values.set(symbol, {
          ...now,
          change,
          volume: metrics.volume_daily ?? undefined,
          close: change !== undefined && now.price ? now.price / (1 + change / 100) : now.close,
          metricsAt: Date.now(),
        });
        this.grid.request();
      }
    } catch (error) {
      if (error.isUnknown) this.isBlind = true;
      this.values.set(symbol, { ...this.values.get(symbol), metricsAt: Date.now() });
    } finally {
      this.isAsking = false;
    }
  }

  async add(symbol) {
    if (symbol && this.list) await dialog.attempt(() => watch.put(this.list.id, symbol));
  }

  async remove(symbol) {
    await dialog.attempt(() => watch.put(this.list.id, symbol, false));
  }

  dropping(target) {
    const isSymbol = (event) => event.dataTransfer.types.includes("application/x-jetscan-symbol");
    target.addEventListener("dragover", (event) => {
      if (!isSymbol(event)) return;
      event.preventDefault();
      target.classList.add("drop");
    });
    target.addEventListener("dragleave", () => target.classList.remove("drop"));
    target.addEventListener("drop", (event) => {
      target.classList.remove("drop");
      if (!isSymbol(event)) return;
      event.preventDefault();
      this.add(event.dataTransfer.getData("application/x-jetscan-symbol"));
    });
  }

  focus() {
    return this.grid.focus() || (this.box.focus(), true);
  }
  csv() {
    return this.grid.table();
  }

  menu() {
    const { list } = this;
    return [
      {
        text: "New watchlist…",
        act: async () => {
          const name = await dialog.prompt("New watchlist", "Name");
          if (name) await dialog.attempt(async () => this.choose(await watch.add(name)));
        },
      },
      {
        text: "Rename…",
        act: async () => {
          const name = await dialog.prompt("Rename the watchlist", "Name", list.name);
          if (name) await dialog.attempt(() => watch.rename(list.id, name));
        },
      },
      {
        text: "Add many symbols…",
        act: async () => {
          const text = await dialog.prompt("Add symbols", "Symbols, with spaces or commas between");
          for (const symbol of (text || "")
            .toUpperCase()
            .split(/[\s,;]+/)
            .filter(Boolean))
            await this.add(symbol);
        },
      },
      {
        text: "Delete the list",
        danger: true,
        act: async () => {
          if (
            await dialog.confirm("Delete this watchlist?", `${list.name} has ${list.symbols.length} symbols.`, "Delete")
          )
            await dialog.attempt(() => watch.remove(list.id));
        },
      },
    ];
  }
}

export const make = (context) => new Watchlist(context);
