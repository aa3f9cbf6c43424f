// For administrators: the functions that run, how far behind they are, and what could not be processed.

import { make as element, button, put } from "./dom.js";
import { Grid } from "./table.js";
import { ask } from "./session.js";
import * as socket from "./socket.js";
import * as dialog from "./dialog.js";
import { plot } from "./plots.js";
import { compact, lasting } from "./format.js";

const POLL_MS = 3_000;
const HISTORY = 120; // polls that the plot remembers

class Functions {
  constructor(context) {
    this.context = context;
    this.functions = [];
    this.lags = [];
    context.bar.append(
      element(
        "span",
        { class: "segments", role: "group", "aria-label": "View" },
        (this.tabs = [
          ["functions", "Functions"],
          ["units", "Units"],
          ["dead", "Dead letters"],
        ].map(([id, text]) => button(text, () => this.choose(id), { "aria-pressed": "false", "data-view": id }))),
      ),
      (this.note = element("span", { class: "faint push" })),
    );
    this.refused = element("div", { class: "pad bad", role: "alert", hidden: true });
    this.place = element("div", { class: "window-body" });
    context.body.append(this.refused, this.place);
    for (const end of [
      socket.followFunctions(),
      socket.functionsHeard.on((told) => this.takeUnits(told)),
      () => clearInterval(this.timer),
      () => this.grid?.end(),
    ])
      context.end(end);
    this.timer = setInterval(() => this.poll(), POLL_MS);
    this.choose("functions");
  }

  choose(view) {
    this.view = view;
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.getAttribute("data-view") === view));
    this.grid?.end();
    this.place.replaceChildren();
    const isFunctions = view === "functions";
    if (view === "units")
      this.grid = new Grid(this.place, {
        label: "Units",
        columns: unitColumns(),
        keyOf: (one) => one.unit,
        rowClass: (one) => (one.paused ? "stale" : ""),
      });
    else
      this.grid = new Grid(
        this.place,
        isFunctions
          ? {
              label: "Functions",
              columns: this.functionColumns(),
              keyOf: (one) => one.name,
              onMenu: (one, cell) => this.menuOf(one, cell),
              rowClass: (one) => (isPaused(one) ? "stale" : ""),
            }
          : {
              label: "Dead letters",
              columns: deadColumns(),
              keyOf: (one) => String(one.sequence ?? one.id),
              onPick: (one) => this.letter(one),
            },
      );
    if (isFunctions) this.place.append((this.plots = element("div", { class: "pad lag-plot" })));
    if (view === "units") this.takeUnits(this.units);
    this.poll();
  }

  /** What the workers tell of every hosted partition, every two seconds. */
  takeUnits(told) {
    this.units = told;
    if (this.view !== "units") return;
    put(this.note, told ? `${told.length} units` : "Waiting for the workers…");
    this.grid.setRows(told || []);
  }

  functionColumns() {
    return [
      {
        id: "name",
        title: "Function",
        width: "minmax(110px, 1.2fr)",
        text: (one) => one.name,
        tone: () => "symbol",
        sort: (one) => one.name,
      },
      {
        id: "version",
        title: "Version",
        width: "76px",
        text: (one) => String(one.version ?? "").slice(0, 9),
        tone: () => "faint",
        hint: (one) => String(one.version ?? ""),
      },
      {
        id: "state",
        title: "State",
        width: "86px",
        text: (one) => one.state || "",
        tone: (one) => (isPaused(one) ? "warn" : /run|ok|live/.test(one.state || "") ? "good" : ""),
      },
      {
        id: "partitions",
        title: "Partitions",
        width: "74px",
        align: "right",
        text: (one) => String(Array.isArray(one.partitions) ? one.partitions.length : (one.partitions ?? "–")),
      },
      {
        id: "lag",
        title: "Behind",
        width: "80px",
        align: "right",
        text: (one) => (lagOf(one) === null ? "–" : compact(lagOf(one))),
        sort: lagOf,
        name: "Messages behind",
      },
      {
        id: "behind",
        title: "Market time",
        width: "84px",
        align: "right",
        text: (one) => (typeof one.behind_ms === "number" ? lasting(one.behind_ms) : "–"),
        name: "Behind, market time",
        sort: (one) => one.behind_ms,
      },
      { id: "act", title: "", width: "84px", draw: (cell, one) => this.drawButton(cell, one) },
    ];
  }

  drawButton(cell, one) {
    const text = isPaused(one) ? "Resume" : "Pause";
    if (cell.drawn === `${one.name} ${text}`) return;
    cell.drawn = `${one.name} ${text}`;
    cell.replaceChildren(
      button(text, () => this.pause(one), { class: "chip", "aria-label": `${text} ${one.name}`, tabIndex: -1 }),
    );
  }

  async pause(one) {
    const isOn = !isPaused(one);
    if (
      isOn &&
      !(await dialog.confirm(
        `Pause ${one.name}?`,
        "What it reads waits in the stream until it goes on; functions behind it in the chain wait with it.",
        "Pause",
      ))
    )
      return;
    await dialog.attempt(
      () => ask("POST", `/admin/functions/${encodeURIComponent(one.name)}/${isOn ? "pause" : "resume"}`),
      `${one.name} ${isOn ? "is paused" : "goes on"}`,
    );
    await this.poll();
  }

  menuOf(one, cell) {
    import("./menu.js").then((menu) =>
      menu.show(
        cell,
        [{ title: one.name }, { text: isPaused(one) ? "Resume" : "Pause", act: () => this.pause(one) }],
        one.name,
      ),
    );
  }

  async poll() {
    if (document.hidden || !this.place.isConnected || this.context.element.hidden) return;
    if (this.view === "units") return;
    try {
      if (this.view === "dead") {
        const told = await ask("GET", "/admin/dead?limit=200");
        const letters = told.dead || told.letters || told.items || [];
        put(this.note, `${told.total ?? told.count ?? letters.length} dead letters`);
        this.grid.setRows(letters);
        return;
      }
      const [functions, lag] = await Promise.all([
        ask("GET", "/admin/functions"),
        ask("GET", "/admin/lag").catch(() => null),
      ]);
      this.take(functions.functions, lag);
    } catch (error) {
      put(
        this.note,
        error.isAway
          ? "This server does not tell."
          : error.status === 403
            ? "Only administrators are told."
            : error.message,
      );
    }
  }

  take(told, lag = null) {
    if (this.view !== "functions" || !Array.isArray(told)) return;
    this.functions = told;
    this.grid.setRows(told);
    put(this.note, `${told.length} functions`);
    const behind = told.map(lagOf).filter((value) => value !== null);
    if (lag) this.refuse(lag.faults || []);
    const total = lag?.lag ?? lag?.total ?? (behind.length ? Math.max(...behind) : null);
    if (total === null || !lag) return;
    this.lags.push(total);
    if (this.lags.length > HISTORY) this.lags.shift();
    const stages = Object.entries(lag).filter(([name, value]) => /_ms$/.test(name) && typeof value === "number");
    this.plots.replaceChildren(
      plot("Behind, messages", { kind: "line", values: [...this.lags] }, `${total} now`),
      element(
        "p",
        { class: "chips" },
        stages.map(([name, value]) =>
          element("span", { class: "badge" }, `${name.replace(/_ms$/, "").replaceAll("_", " ")} ${lasting(value)}`),
        ),
      ),
    );
  }

  /** What the loader says of functions that are not hosted as they stand on disk. */
  refuse(faults) {
    this.refused.hidden = !faults.length;
    const told = faults.join("\n");
    if (told === this.told) return;
    this.told = told;
    this.refused.replaceChildren(...faults.map((fault) => element("p", {}, "Refused: ", element("code", {}, fault))));
  }

  async letter(one) {
    const id = one.sequence ?? one.id;
    const whole = await ask("GET", `/admin/dead/${id}`).catch(() => one);
    const opened = dialog.open(
      `Dead letter ${id}`,
      [
        element(
          "table",
          { class: "facts" },
          element(
            "tbody",
            {},
            Object.entries(whole)
              .filter(([, value]) => typeof value !== "object")
              .map(([name, value]) =>
                element(
                  "tr",
                  {},
                  element("th", { scope: "row" }, name.replaceAll("_", " ")),
                  element("td", {}, element("code", { class: "id" }, String(value))),
                ),
              ),
          ),
        ),
        element(
          "div",
          { class: "actions" },
          button(
            "Delete",
            async () => {
              if (await dialog.attempt(() => ask("DELETE", `/admin/dead/${id}`), "It is deleted")) {
                opened.close();
                this.poll();
              }
            },
            { class: "danger" },
          ),
          button(
            "Put back",
            async () => {
              if (await dialog.attempt(() => ask("POST", `/admin/dead/${id}/redrive`), "It is processed again")) {
                opened.close();
                this.poll();
              }
            },
            { class: "primary" },
          ),
        ),
      ],
      { wide: true },
    );
  }

  focus() {
    return this.grid.focus();
  }
  csv() {
    return this.grid.table();
  }
}

const isPaused = (one) => one.paused === true || /pause/.test(one.state || "");
const lagOf = (one) =>
  typeof one.lag === "number" ? one.lag : typeof one.lag?.messages === "number" ? one.lag.messages : null;

const unitColumns = () => [
  {
    id: "unit",
    title: "Unit",
    width: "minmax(100px, 1fr)",
    text: (one) => one.unit,
    tone: () => "symbol",
    sort: (one) => one.unit,
  },
  {
    id: "worker",
    title: "Worker",
    width: "minmax(110px, 1.2fr)",
    text: (one) => one.worker || "",
    tone: () => "faint",
    sort: (one) => one.worker,
  },
  {
    id: "pending",
    title: "Behind",
    width: "72px",
    align: "right",
    text: (one) => compact(one.pending),
    sort: (one) => one.pending,
    name: "Messages behind",
  },
  {
    id: "snapshot",
    title: "Saved",
    width: "72px",
    align: "right",
    text: (one) => (typeof one.snapshot_age_s === "number" ? lasting(one.snapshot_age_s * 1000) : "–"),
    name: "Saved, ago",
  },
  { id: "epoch", title: "Epoch", width: "56px", align: "right", text: (one) => String(one.epoch ?? "") },
  {
    id: "version",
    title: "Version",
    width: "84px",
    text: (one) => String(one.version ?? "").slice(0, 9),
    tone: () => "faint",
  },
  { id: "paused", title: "", width: "60px", text: (one) => (one.paused ? "paused" : ""), tone: () => "warn" },
];

const deadColumns = () => [
  { id: "sequence", title: "#", width: "60px", align: "right", text: (one) => String(one.sequence ?? one.id ?? "") },
  { id: "function", title: "Function", width: "110px", text: (one) => one.function || "", tone: () => "symbol" },
  { id: "subject", title: "Subject", width: "minmax(100px, 1fr)", text: (one) => one.subject || "" },
  {
    id: "reason",
    title: "Reason",
    width: "minmax(160px, 2fr)",
    text: (one) => String(one.reason || "").split("\n")[0],
    hint: (one) => one.reason || "",
  },
];

export const make = (context) => new Functions(context);
