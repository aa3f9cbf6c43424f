// The symbol box: what is typed anywhere finds a symbol, and every linked window shows it.

import { byId, make } from "./dom.js";
import { price } from "./format.js";
import * as metrics from "./metrics.js";
import * as preferences from "./preferences.js";

const WAIT_MS = 120;
const RECENT_MAX = 8;
const state = { found: [], at: -1, timer: 0, asking: null, pick: () => {} };

const box = () => byId("symbol-box");
const list = () => byId("symbol-found");

export function begin(pick) {
  state.pick = pick;
  box().addEventListener("input", typed);
  box().addEventListener("keydown", key);
  box().addEventListener("focus", find);
  box().addEventListener("blur", () => setTimeout(close, 150));
  list().addEventListener("pointerdown", (event) => event.preventDefault());
}

function typed() {
  const { selectionStart: at, value } = box();
  if (value !== value.toUpperCase()) {
    box().value = value.toUpperCase();
    box().setSelectionRange(at, at);
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(find, WAIT_MS);
}

/** Open with a first letter. */
export function open(text) {
  box().value = text.toUpperCase();
  box().focus();
  find();
  return true;
}

async function find() {
  const text = box().value.trim();
  state.asking?.abort();
  state.asking = new AbortController();
  if (!text)
    return show(
      preferences.get("recent").map((symbol) => ({ symbol, name: "recent" })),
      -1,
    );
  try {
    show(await metrics.symbols(text, 10, state.asking.signal), 0);
  } catch (error) {
    if (error.name !== "AbortError") show([], -1);
  }
}

function show(found, at) {
  if (document.activeElement !== box()) return;
  state.found = found;
  state.at = Math.min(at, found.length - 1);
  list().replaceChildren(
    ...found.map((one, place) =>
      make(
        "li",
        {
          role: "option",
          id: `symbol-${place}`,
          "aria-selected": String(place === state.at),
          on: { click: () => choose(one.symbol) },
        },
        make("b", {}, one.symbol),
        make("span", { class: "faint" }, one.name || ""),
        make("span", { class: "number" }, one.last ? price(one.last) : ""),
      ),
    ),
  );
  list().hidden = !found.length;
  box().setAttribute("aria-expanded", String(found.length > 0));
  mark();
}

function mark() {
  [...list().children].forEach((one, place) => one.setAttribute("aria-selected", String(place === state.at)));
  if (state.at >= 0) box().setAttribute("aria-activedescendant", `symbol-${state.at}`);
  else box().removeAttribute("aria-activedescendant");
}

function close() {
  list().hidden = true;
  box().setAttribute("aria-expanded", "false");
}

function key(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && state.found.length) {
    event.preventDefault();
    state.at = (state.at + step + state.found.length) % state.found.length;
    mark();
  } else if (event.key === "Enter") {
    event.preventDefault();
    const typed = box().value.trim().toUpperCase();
    const exact = state.found.find((one) => one.symbol.toUpperCase() === typed);
    const wanted = exact && state.at <= 0 ? exact.symbol : state.found[state.at]?.symbol || typed;
    if (wanted) choose(wanted);
  } else if (event.key === "Escape") {
    box().value = "";
    box().blur();
  }
}

function choose(symbol) {
  preferences.set(
    "recent",
    [symbol, ...preferences.get("recent").filter((one) => one !== symbol)].slice(0, RECENT_MAX),
  );
  box().value = "";
  close();
  box().blur();
  state.pick(symbol);
}
