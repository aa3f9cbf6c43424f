// A toplist: ranks that move, held while somebody is in them.

import { make as element, button, put } from "./dom.js";
import { Grid } from "./table.js";
import { ask } from "./session.js";
import { Signal } from "./signal.js";
import { compact, price, valueOf, wordsOf, isSigned, lasting, msOf } from "./format.js";
import * as metrics from "./metrics.js";
import * as rankings from "./rankings.js";
import * as socket from "./socket.js";
import * as sparks from "./sparks.js";
import * as conditions from "./conditions.js";
import * as preferences from "./preferences.js";
import * as rowactions from "./rowactions.js";
import * as dialog from "./dialog.js";
import { repainted } from "./appearance.js";

const FIRST = ["rank", "move", "symbol", "value", "price", "volume", "spark", "states"];
const CATALOG_MS = 10_000;

// -- which lists there are, for all windows

const catalog = { system: [], own: [], timer: 0, changed: new Signal() };

export async function loadCatalog() {
  clearTimeout(catalog.timer);
  try {
    const told = await ask("GET", "/toplists");
    catalog.system = told.system_toplists || [];
    catalog.own = told.user_toplists || [];
    catalog.changed.tell();
  } catch {
    /* asked again below */
  }
  if (!catalog.system.length) catalog.timer = setTimeout(loadCatalog, CATALOG_MS);
}

export const configOf = (id) => [...catalog.own, ...catalog.system].find((one) => one.id === id);

/** The metric that a list ranks by, as far as its configuration or its name tells. */
export function metricOf(id) {
  const config = configOf(id);
  const window = config?.time_window;
  const metric = config?.metric || id;
  if (!window) return metric;
  const names = {
    change_pct: window === "1d" ? "change_from_close_pct" : `change_pct_${window === "1h" ? "60m" : window}`,
    volume: window === "1d" ? "volume_daily" : `volume_${window === "1h" ? "60m" : window}`,
    rsi: `rsi_14_${window}`,
    relative_volume: `relative_volume_${window}`,
    vwap_dist: `vwap_dist_${window}_pct`,
  };
  return names[metric] || metric;
}

// -- the window

export const make = (context) => new ListWindow(context);

class ListWindow {
  constructor(context) {
    this.context = context;
    this.id = context.state.list || "gainers_5m";
    this.peaks = {};
    this.chooser = element("select", {
      "aria-label": "List",
      on: { change: (event) => this.choose(event.target.value) },
    });
    this.held = button("Hold", () => this.grid.pin(), {
      "aria-pressed": "false",
      title: "Hold the ranks (h)",
      class: "push",
    });
    context.bar.append(
      this.chooser,
      button("✎", () => this.edit(), {
        class: "icon",
        "aria-label": "Change or make lists",
        title: "Change or make lists",
      }),
      this.held,
    );
    this.grid = new Grid(context.body, {
      label: "Toplist",
      columns: this.columns(),
      keyOf: (row) => row.symbol,
      symbolOf: (row) => row.symbol,
      holds: true,
      onPick: (row) => this.pick(row.symbol),
      onMenu: (row, cell) => rowactions.show(cell, row.symbol),
      rowClass: (row) => this.rowClass(row),
      onHold: (waiting, isHeld) => this.tellHold(waiting, isHeld),
    });
    this.note = element("p", { class: "empty" }, "Waiting for the first ranking…");
    context.body.append(this.note);
    this.follow();
    for (const end of [
      rankings.updated.on((id, list) => {
        if (id === this.id) this.show(list);
      }),
      catalog.changed.on(() => this.fillChooser()),
      sparks.changed.on(() => this.grid.request()),
      conditions.changed.on(() => this.grid.request()),
      repainted.on(() => this.grid.repaint()),
      preferences.changed.on((name) => {
        if (name === "heat" || name === "*") this.reshape();
      }),
      () => this.grid.end(),
      () => this.unfollow?.(),
    ])
      context.end(end);
    context.onSymbol((symbol) => this.grid.select(symbol));
    this.fillChooser();
    loadCatalog();
    this.actions = { hold: () => this.grid.pin(), ...rowactions.keysOf(this.grid, (row) => row.symbol) };
  }

  focus() {
    return this.grid.focus();
  }

  csv() {
    return this.grid.table();
  }

  menu() {
    return [
      { text: "Columns…", act: () => this.chooseColumns() },
      { text: "Change or make lists…", act: () => this.edit() },
      {
        text: "Another list in a new tab",
        act: () =>
          import("./layout.js").then((layout) => layout.add("list", this.context.id, { state: { list: this.id } })),
      },
    ];
  }

  choose(id) {
    this.id = id;
    this.context.save({ list: id });
    this.grid.setRows([]);
    this.note.hidden = false;
    this.follow();
    this.reshape();
    this.fillChooser();
  }

  follow() {
    this.unfollow?.();
    this.unfollow = socket.followList(this.id);
    const known = rankings.get(this.id);
    if (known) this.show(known);
  }

  fillChooser() {
    const group = (label, lists) =>
      lists.length
        ? element(
            "optgroup",
            { label },
            lists.map((one) => new Option(one.name || one.id, one.id)),
          )
        : null;
    const known = configOf(this.id);
    this.chooser.replaceChildren(
      ...[
        group("Mine", catalog.own),
        group("System", catalog.system),
        known ? null : new Option(wordsOf(this.id), this.id),
      ].filter(Boolean),
    );
    this.chooser.value = this.id;
    const name = known?.name || wordsOf(this.id);
    this.context.title(name);
    this.grid.element.setAttribute("aria-label", name);
    this.reshape();
  }

  reshape() {
    const columns = this.columns();
    const stamp = JSON.stringify(columns.map((one) => [one.id, one.title, one.width, Boolean(one.heat), one.sorted]));
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.grid.setColumns(columns);
  }

  // -- columns

  columns() {
    const metric = metricOf(this.id);
    const config = configOf(this.id);
    const isHot = preferences.get("heat");
    const own = (config?.columns || []).map((name) => ({
      id: name,
      title: wordsOf(name),
      name,
      width: "minmax(78px, 1fr)",
      align: "right",
      text: (row) => valueOf(name, row.metadata[name], metrics.unitOf(name)),
      value: (row) => row.metadata[name],
      tone: isSigned(name)
        ? (row) => (row.metadata[name] > 0 ? "up" : row.metadata[name] < 0 ? "down" : "")
        : undefined,
    }));
    const all = {
      rank: {
        title: "#",
        name: "Rank",
        width: "28px",
        align: "right",
        text: (row) => String(row.rank),
        tone: () => "faint",
      },
      move: {
        title: "±",
        name: "Rank change",
        width: "40px",
        align: "right",
        text: (row) => this.moveText(row),
        tone: (row) => this.moveTone(row),
        hint: (row) => this.sinceWords(row),
      },
      symbol: { title: "Symbol", width: "minmax(60px, 1fr)", text: (row) => row.symbol, tone: () => "symbol" },
      value: {
        title: shortTitle(metric),
        name: wordsOf(metric),
        width: "minmax(68px, 1fr)",
        align: "right",
        sorted: config?.sort_order === "asc" || /losers|_low$/.test(this.id) ? "ascending" : "descending",
        text: (row) => valueOf(metric, row.value, metrics.unitOf(metric)),
        value: (row) => row.value,
        tone: (row) => this.valueTone(metric, row),
        flash: isSigned(metric) ? undefined : (row) => row.value,
        heat: isHot ? (row) => this.valueHeat(metric, row) : undefined,
        scale: isSigned(metric) ? "around" : "amount",
      },
      price: {
        title: "Price",
        width: "minmax(62px, 1fr)",
        align: "right",
        text: (row) => price(row.metadata.price),
        value: (row) => row.metadata.price,
        flash: (row) => row.metadata.price,
      },
      volume: {
        title: "Volume",
        width: "minmax(56px, 1fr)",
        align: "right",
        text: (row) => compact(row.metadata.volume),
        value: (row) => row.metadata.volume,
        heat:
          isHot && metricKind(metric) !== "shares" ? (row) => this.amount("volume", row.metadata.volume) : undefined,
        scale: "amount",
      },
      spark: {
        title: "Today",
        name: "Today, by minute",
        width: "minmax(58px, 1.3fr)",
        draw: (cell, row) => sparks.draw(cell, row.symbol),
      },
      since: {
        title: "In list",
        name: "Time in the list",
        width: "64px",
        align: "right",
        text: (row) => this.sinceText(row),
      },
      states: {
        title: "",
        name: "State",
        width: "34px",
        text: (row) => conditions.mark(conditions.of(row.symbol, row)),
        hint: (row) => conditions.inWords(conditions.of(row.symbol, row)),
        tone: () => "states",
      },
    };
    const shown = (this.context.state.columns || FIRST).filter((id) => all[id]);
    const places = shown.map((id) => ({ id, ...all[id] }));
    const at = places.findIndex((one) => one.id === "spark");
    places.splice(at < 0 ? places.length : at, 0, ...own);
    return places;
  }

  moveOf(row) {
    return rankings.get(this.id)?.moves.get(row.symbol)?.by;
  }

  moveText(row) {
    const by = this.moveOf(row);
    return by === "new" ? "new" : by ? String(Math.abs(by)) : "";
  }

  moveTone(row) {
    const by = this.moveOf(row);
    return by === "new" ? "is-new" : by > 0 ? "moved-up" : by < 0 ? "moved-down" : "";
  }

  sinceMs(row) {
    return (rankings.get(this.id)?.timestampMs ?? NaN) - msOf(row.since);
  }
  sinceText(row) {
    return row.since ? lasting(Math.max(1_000, this.sinceMs(row))).replace(/\.\d s$/, " s") : "–";
  }
  sinceWords(row) {
    return row.since ? `in the list for ${this.sinceText(row)}` : "";
  }

  valueTone(metric, row) {
    if (!isSigned(metric)) return "";
    return preferences.get("heat") ? "" : row.value > 0 ? "up" : row.value < 0 ? "down" : "";
  }

  valueHeat(metric, row) {
    if (isSigned(metric)) return this.peaks.value ? row.value / this.peaks.value : 0;
    if (metricKind(metric) === "index") return row.value / 100;
    return this.amount("value", row.value);
  }

  /** A share of the column's largest, by its logarithm over three decades. */
  amount(name, value) {
    const peak = this.peaks[name];
    return peak > 0 && value > 0 ? Math.max(0.02, 1 + Math.log10(value / peak) / 3) : 0;
  }

  rowClass(row) {
    const found = conditions.of(row.symbol, row);
    return [found.halted ? "halted" : "", found.stale && !found.halted ? "stale" : "", found.warming ? "warming" : ""]
      .filter(Boolean)
      .join(" ");
  }

  // -- updates

  show(list) {
    this.note.hidden = list.order.length > 0;
    put(this.note, "No symbol ranks here now.");
    this.peaks = {
      value: Math.max(0, ...list.order.map((row) => Math.abs(row.value))),
      volume: Math.max(0, ...list.order.map((row) => row.metadata.volume)),
    };
    this.grid.setRows(list.order);
  }

  tellHold(waiting, isHeld) {
    const isPinned = this.grid?.hold.pinned;
    put(this.held, isHeld ? (waiting ? `Resume +${waiting}` : isPinned ? "Resume" : "Held") : "Hold");
    this.held.setAttribute("aria-pressed", String(Boolean(isHeld)));
  }

  pick(symbol) {
    this.grid.select(symbol);
    this.context.pick(symbol);
  }

  // -- choosing

  chooseColumns() {
    const titles = {
      rank: "Rank",
      move: "Rank change",
      symbol: "Symbol",
      value: "Value",
      price: "Price",
      volume: "Volume of the day",
      spark: "Today by minute",
      since: "Time in the list",
      states: "State",
    };
    const chosen = new Set(this.context.state.columns || FIRST);
    const boxes = Object.entries(titles).map(([id, title]) =>
      element(
        "label",
        { class: "check" },
        element("input", {
          type: "checkbox",
          checked: chosen.has(id),
          disabled: id === "symbol",
          on: {
            change: (event) => {
              event.target.checked ? chosen.add(id) : chosen.delete(id);
              this.context.save({ columns: Object.keys(titles).filter((one) => chosen.has(one)) });
              this.reshape();
            },
          },
        }),
        title,
      ),
    );
    dialog.open("Columns", [
      ...boxes,
      element("p", { class: "hint" }, "Metrics as columns belong to a list of your own: Change or make lists."),
    ]);
  }

  edit() {
    import("./listeditor.js").then((editor) => editor.open(this.id, (id) => loadCatalog().then(() => this.choose(id))));
  }
}

const metricKind = (metric) => metrics.kind(metric);
const shortTitle = (metric) =>
  ({
    pct: /rel/.test(metric)
      ? "Rel. vol."
      : /vwap/.test(metric)
        ? "VWAP %"
        : /change|gap/.test(metric)
          ? `${metric.includes("gap") ? "Gap" : "Chg"} ${metric.match(/(\d+m|close|open)/)?.[0] || ""}`.trim()
          : wordsOf(metric),
    shares: `Vol ${metric.match(/(\d+m|daily)/)?.[0] || ""}`.trim(),
    index: wordsOf(metric).toUpperCase(),
  })[metrics.kind(metric)] || wordsOf(metric);
