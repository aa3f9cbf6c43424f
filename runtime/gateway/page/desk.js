// The desk: the layout as elements. Windows live as long as they are in it, also while another tab is shown.

import { make, byId, button, download, csvOf } from "./dom.js";
import * as layout from "./layout.js";
import * as link from "./link.js";
import * as menu from "./menu.js";
import { attempt, confirm } from "./dialog.js";

const LEAST = 8; // percent of a column or pane
const PHONE = matchMedia("(max-width: 719px)");

/** Kinds of window: what they are called, and the module that makes them. */
export const KINDS = {
  list: { title: "Toplist", load: () => import("./lists.js") },
  tape: { title: "Alerts", load: () => import("./tape.js") },
  chart: { title: "Chart", load: () => import("./chart.js") },
  watchlist: { title: "Watchlist", load: () => import("./watchlists.js") },
  quote: { title: "Symbol", load: () => import("./quote.js") },
  rules: { title: "Rules", load: () => import("./rules.js") },
  backtest: { title: "Backtest", load: () => import("./backtest.js") },
  replay: { title: "Replay", load: () => import("./replay.js") },
  functions: { title: "Functions", load: () => import("./functions.js"), isAdmin: true },
};

const open = new Map(); // id -> {window, element, handle, ends, title}
const state = { active: null, element: null, mayAdmin: () => true };

export function begin(mayAdmin) {
  state.element = byId("desk");
  state.mayAdmin = mayAdmin;
  layout.changed.on(render);
  PHONE.addEventListener("change", render);
  link.picked.on((group, symbol) => {
    for (const one of open.values())
      if (one.window.group === group) one.context.symbolListeners.forEach((listener) => listener(symbol));
  });
  layout.begin();
}

/** Fetch what other windows are made of while nothing else is to do: they open at once, also when cut off. */
export async function fetchKinds() {
  for (const [, kind] of kinds()) await kind.load().catch(() => {});
}

export const active = () => open.get(state.active);
export const kinds = () => Object.entries(KINDS).filter(([, kind]) => !kind.isAdmin || state.mayAdmin());

/** Hand an action to the window of a table, or the active one, or to another that can take it. */
export function act(action, table = null) {
  const mine = open.get(table?.closest(".window")?.dataset.id ?? state.active)?.handle?.actions;
  if (mine?.[action]) return mine[action]() !== false;
  if (action === "hold" || action === "pause" || action === "focus") {
    for (const one of open.values())
      if (isShown(one) && one.handle?.actions?.[action]) return one.handle.actions[action]() !== false;
  }
  return false;
}

const isShown = (one) => layout.paneOf(one.window.id)?.shown === one.window.id;

/** Go to the window of a number, as read from the left. */
export function goTo(number) {
  const window = layout.windows()[number - 1];
  if (!window) return false;
  layout.show(window.id);
  activate(window.id);
  const one = open.get(window.id);
  if (!one?.handle?.focus?.()) one?.element.focus();
  return true;
}

/** Show a window of a kind, a new one where there is none; returns once it is made. */
export async function reveal(kind, change) {
  let window = layout.windows().find((one) => one.kind === kind);
  const id = window ? window.id : layout.add(kind, state.active);
  layout.show(id);
  activate(id);
  window = layout.windows().find((one) => one.id === id);
  const handle = await open.get(id).made;
  change?.(handle);
  return handle;
}

function activate(id) {
  state.active = id;
  for (const one of document.querySelectorAll(".pane")) one.classList.toggle("active", one.dataset.shown === id);
  const shown = layout.paneOf(id)?.shown;
  for (const one of document.querySelectorAll(".pane")) one.classList.toggle("on-phone", one.dataset.shown === shown);
  for (const one of byId("phone-nav").children) one.setAttribute("aria-current", String(one.dataset.id === id));
}

// -- windows

function context(window) {
  const bar = make("div", { class: "window-bar" });
  const body = make("div", { class: "window-body" });
  const element = make(
    "section",
    { class: `window window-${window.kind}`, tabIndex: -1, data: { id: window.id, kind: window.kind } },
    bar,
    body,
  );
  const ends = [];
  const symbolListeners = new Set();
  return {
    id: window.id,
    kind: window.kind,
    state: window.state,
    bar,
    body,
    element,
    ends,
    symbolListeners,
    save: (more) => {
      Object.assign(window.state, more);
      layout.save();
    },
    get group() {
      return window.group;
    },
    symbol: () => link.symbolOf(window.group),
    pick: (symbol) => link.pick(window.group, symbol),
    onSymbol: (listener) => symbolListeners.add(listener),
    title: (text) => retitle(window.id, text),
    end: (what) => ends.push(what),
  };
}

function ensure(window) {
  if (open.has(window.id)) return open.get(window.id);
  const made = context(window);
  const one = {
    window,
    element: made.element,
    context: made,
    handle: null,
    title: KINDS[window.kind]?.title || window.kind,
  };
  made.element.setAttribute("aria-label", one.title);
  open.set(window.id, one);
  made.element.addEventListener("pointerdown", () => activate(window.id));
  made.element.addEventListener("focusin", () => activate(window.id));
  one.made = load(one);
  return one;
}

async function load(one) {
  const kind = KINDS[one.window.kind];
  try {
    if (!kind) throw new Error(`there is no window called ${one.window.kind}`);
    const module = await kind.load();
    if (open.has(one.window.id)) one.handle = module.make(one.context) || {};
  } catch (error) {
    one.context.body.replaceChildren(
      make("p", { class: "empty bad" }, `This window could not be opened: ${error.message}`),
    );
    console.warn(error);
  }
  return one.handle;
}

function retitle(id, text) {
  const one = open.get(id);
  if (!one || one.title === text) return;
  one.title = text;
  one.element.setAttribute("aria-label", text);
  for (const tab of document.querySelectorAll(`[data-tab="${id}"] .tab-title, #phone-nav [data-id="${id}"] .tab-title`))
    tab.textContent = text;
}

function close(id) {
  const one = open.get(id);
  open.delete(id);
  one?.context.ends.forEach((end) => end());
  one?.element.remove();
}

// -- elements

function render() {
  const windows = layout.windows();
  for (const id of [...open.keys()]) if (!windows.some((one) => one.id === id)) close(id);
  const focused = document.activeElement?.closest?.("[data-tab]")?.dataset.tab;
  const parts = [];
  layout.tree().columns.forEach((column, c) => {
    if (c) parts.push(splitter("vertical", layout.tree().columns, c));
    parts.push(columnElement(column));
  });
  state.element.replaceChildren(...parts);
  byId("phone-nav").replaceChildren(
    ...windows.map((window) =>
      make(
        "button",
        {
          type: "button",
          data: { id: window.id },
          on: {
            click: () => {
              layout.show(window.id);
              activate(window.id);
            },
          },
        },
        make("span", { class: "tab-title" }, open.get(window.id).title),
      ),
    ),
  );
  const shown = windows.some((one) => one.id === state.active) ? state.active : windows[0].id;
  activate(shown);
  if (focused) document.querySelector(`[data-tab="${focused}"]`)?.focus();
}

function columnElement(column) {
  const parts = [];
  column.panes.forEach((pane, p) => {
    if (p) parts.push(splitter("horizontal", column.panes, p));
    parts.push(paneElement(pane));
  });
  const element = make("div", { class: "column" }, parts);
  element.style.flexGrow = String(column.size);
  return element;
}

function paneElement(pane) {
  const tabs = make(
    "div",
    { class: "tabs", role: "tablist", "aria-label": "Windows" },
    pane.windows.map((window) => tab(pane, window)),
  );
  const shown = pane.windows.find((one) => one.id === pane.shown) || pane.windows[0];
  tabs.addEventListener("keydown", (event) => tabKeys(event, pane));
  const element = make(
    "div",
    { class: "pane", data: { shown: shown.id } },
    make(
      "div",
      { class: "pane-head" },
      tabs,
      make(
        "div",
        { class: "pane-tools" },
        button("+", (event) => addMenu(event.currentTarget, shown), {
          class: "icon",
          "aria-label": "Add a window",
          title: "Add a window",
          "aria-haspopup": "menu",
        }),
        linkButton(shown),
        button("⋯", (event) => windowMenu(event.currentTarget, shown), {
          class: "icon",
          "aria-label": "Window menu",
          title: "Window menu",
          "aria-haspopup": "menu",
        }),
      ),
    ),
    pane.windows.map((window) => {
      const one = ensure(window);
      one.element.hidden = window !== shown;
      return one.element;
    }),
  );
  element.style.flexGrow = String(pane.size);
  return element;
}

function tab(pane, window) {
  const one = ensure(window);
  const number = layout.windows().indexOf(window) + 1;
  const isShown = pane.shown === window.id;
  return make(
    "button",
    {
      type: "button",
      role: "tab",
      class: "tab",
      "aria-selected": String(isShown),
      tabIndex: isShown ? 0 : -1,
      data: { tab: window.id },
      title: number <= 9 ? `Key ${number}` : null,
      on: {
        click: () => {
          layout.show(window.id);
          activate(window.id);
        },
      },
    },
    number <= 9 ? make("span", { class: "tab-number", "aria-hidden": "true" }, String(number)) : null,
    make("span", { class: "tab-title" }, one.title),
  );
}

function tabKeys(event, pane) {
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const at = pane.windows.findIndex((one) => one.id === pane.shown);
  const next = pane.windows[(at + steps[event.key] + pane.windows.length) % pane.windows.length];
  layout.show(next.id);
  document.querySelector(`[data-tab="${next.id}"]`)?.focus();
}

function linkButton(window) {
  const name = link.GROUPS.find(([id]) => id === window.group)?.[1] || "Not linked";
  return button(
    "",
    (event) =>
      menu.show(event.currentTarget, [
        { title: "Linked by colour" },
        ...link.GROUPS.map(([id, text]) => ({
          text,
          swatch: id,
          checked: window.group === id,
          act: () => {
            window.group = id;
            layout.save(true);
          },
        })),
      ]),
    {
      class: `icon link-dot group-${window.group}`,
      "aria-label": `Linked: ${name}`,
      title: `Linked: ${name}`,
      "aria-haspopup": "menu",
    },
  );
}

function addMenu(anchor, beside) {
  menu.show(anchor, [
    { title: "New tab" },
    ...kinds().map(([kind, { title }]) => ({ text: title, act: () => added(layout.add(kind, beside.id)) })),
    "-",
    { text: "Below: chart", act: () => added(layout.add("chart", beside.id, { isBelow: true })) },
    { text: "Below: toplist", act: () => added(layout.add("list", beside.id, { isBelow: true })) },
    { text: "Below: alerts", act: () => added(layout.add("tape", beside.id, { isBelow: true })) },
  ]);
}

function added(id) {
  activate(id);
  open.get(id)?.element.focus();
}

function windowMenu(anchor, window) {
  const { handle, title } = open.get(window.id);
  const items = [...(handle?.menu?.() || [])];
  if (handle?.csv)
    items.push({
      text: "Save as CSV",
      act: () =>
        attempt(() => download(`${title.replaceAll(/\W+/g, "-").toLowerCase()}.csv`, csvOf(handle.csv()), "text/csv")),
    });
  if (items.length) items.push("-");
  for (const [where, text] of [
    ["left", "Move left"],
    ["right", "Move right"],
    ["up", "Move up"],
    ["down", "Move down"],
  ])
    items.push({
      text,
      act: () => {
        layout.move(window.id, where);
        activate(window.id);
      },
    });
  items.push("-", {
    text: "Close",
    danger: true,
    disabled: layout.windows().length === 1,
    act: () => closeAsked(window.id),
  });
  menu.show(anchor, items);
}

async function closeAsked(id) {
  const { handle, title } = open.get(id);
  if (
    handle?.isDirty?.() &&
    !(await confirm("Close this window?", `${title} has changes that are not saved.`, "Close"))
  )
    return;
  layout.remove(id);
}

// -- splitters: drag, or arrows

function splitter(direction, parts, place) {
  const element = make("div", {
    class: `splitter ${direction}`,
    role: "separator",
    tabIndex: 0,
    "aria-orientation": direction,
    "aria-label": "Resize",
    "aria-valuemin": LEAST,
    "aria-valuemax": 100 - LEAST,
  });
  const [before, after] = [parts[place - 1], parts[place]];
  const tell = () =>
    element.setAttribute("aria-valuenow", String(Math.round((before.size / (before.size + after.size)) * 100)));
  const apply = (share) => {
    const both = before.size + after.size;
    before.size = both * Math.min(1 - LEAST / 100, Math.max(LEAST / 100, share));
    after.size = both - before.size;
    element.previousElementSibling.style.flexGrow = String(before.size);
    element.nextElementSibling.style.flexGrow = String(after.size);
    tell();
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    const from = element.previousElementSibling.getBoundingClientRect();
    const to = element.nextElementSibling.getBoundingClientRect();
    const drag = (moved) =>
      apply(
        direction === "vertical"
          ? (moved.clientX - from.left) / (to.right - from.left)
          : (moved.clientY - from.top) / (to.bottom - from.top),
      );
    element.addEventListener("pointermove", drag);
    element.addEventListener(
      "lostpointercapture",
      () => {
        element.removeEventListener("pointermove", drag);
        layout.save();
      },
      { once: true },
    );
  });
  element.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.03, ArrowUp: -0.03, ArrowRight: 0.03, ArrowDown: 0.03 }[event.key];
    if (!step) return;
    event.preventDefault();
    apply(before.size / (before.size + after.size) + step);
    layout.save();
  });
  tell();
  return element;
}
