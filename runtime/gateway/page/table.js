// A virtual table: keyed rows of one height, cells touched only where they differ, order held while somebody is in it.

import { make, put } from "./dom.js";
import { moves } from "./appearance.js";

const SPARE_ROWS = 4; // rendered beyond what is seen, above and below
const MOVED_MAX = 8; // rows that are seen moving at once: more is a blur
const FLASH_MS = 450;
const FLASH_EVERY_MS = 500; // per cell
const FLASHES_MAX = 16; // per update: WCAG 2.3.1, no large area flashes

/**
 * columns: {id, title, width (px, or minmax(px, fr)), align, text(row), tone(row), heat(row) -1..1, scale "amount" or around zero, flash(row) number, draw(cell, row), hint(row), name, sort(row), sorted}
 * options: label, columns, keyOf(row), symbolOf(row), onPick(row), onOpen(row), onMenu(row, cell), rowClass(row), holds, onHold(waiting, isHeld), rowHeight
 */
export class Grid {
  constructor(host, options) {
    this.options = { rowHeight: 22, holds: false, rowClass: () => "", ...options };
    this.rows = [];
    this.byKey = new Map();
    this.elements = new Map();
    this.active = { key: null, column: 0 };
    this.pointed = null;
    this.selected = null;
    this.sort = null;
    this.hold = { pointer: false, focus: false, pinned: false };
    this.waiting = null;
    this.frame = 0;
    this.head = make("div", { class: "grid-head", role: "row", "aria-rowindex": 1 });
    this.body = make("div", { class: "grid-body", role: "rowgroup" });
    this.element = make(
      "div",
      { class: "grid", role: "grid", "aria-label": options.label },
      make("div", { class: "grid-top", role: "rowgroup" }, this.head),
      this.body,
    );
    host.append(this.element);
    this.setColumns(options.columns);
    this.#listen();
    this.observer = new ResizeObserver(() => this.request());
    this.observer.observe(this.element);
  }

  end() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.element.remove();
  }

  setColumns(columns) {
    this.columns = columns;
    this.element.style.setProperty("--columns", columns.map((one) => one.width).join(" "));
    this.element.style.setProperty(
      "--width",
      `${columns.reduce((sum, one) => sum + Number(/\d+/.exec(one.width)[0]), 12)}px`,
    );
    this.element.setAttribute("aria-colcount", String(columns.length));
    this.head.replaceChildren(...columns.map((column, k) => this.#heading(column, k)));
    for (const element of this.elements.values()) element.remove();
    this.elements.clear();
    this.active.column = Math.min(this.active.column, columns.length - 1);
    this.request();
  }

  #heading(column, place) {
    const mine = this.sort?.id === column.id;
    const sorted = mine ? (this.sort.falling ? "descending" : "ascending") : column.sorted || null;
    const mark = sorted
      ? make("span", { class: "sort-mark", "aria-hidden": "true" }, sorted === "descending" ? "▾" : "▴")
      : null;
    const inside = column.sort
      ? make(
          "button",
          { type: "button", class: "head-button", on: { click: () => this.sortBy(column.id) } },
          column.title,
          mark,
        )
      : make("span", {}, column.title, mark);
    return make(
      "div",
      {
        class: `cell head ${column.align || ""}`,
        role: "columnheader",
        "aria-colindex": place + 1,
        "aria-sort": sorted,
        title: column.name || null,
      },
      inside,
    );
  }

  /** Sort by a column here; once more turns it around. */
  sortBy(id) {
    this.sort = { id, falling: this.sort?.id === id ? !this.sort.falling : true };
    this.setColumns(this.columns);
    this.setRows(this.given || []);
  }

  get isHeld() {
    return this.options.holds && (this.hold.pinned || this.hold.pointer || this.hold.focus);
  }

  /** The rows, first to last. While the table is held they wait; those that are shown get their new values. */
  setRows(rows) {
    this.given = rows;
    const ordered = this.sort ? this.#sorted(rows) : rows;
    if (this.isHeld && this.rows.length) {
      this.waiting = ordered;
      const fresh = new Map(ordered.map((row) => [this.options.keyOf(row), row]));
      this.rows = this.rows.map((row) => fresh.get(this.options.keyOf(row)) || row);
    } else {
      this.waiting = null;
      this.rows = ordered;
    }
    this.byKey = new Map(this.rows.map((row, place) => [this.options.keyOf(row), place]));
    this.#tellHold();
    this.request();
  }

  #sorted(rows) {
    const column = this.columns.find((one) => one.id === this.sort.id);
    if (!column?.sort) return rows;
    const sign = this.sort.falling ? -1 : 1;
    const absent = (value) => value === null || value === undefined || Number.isNaN(value);
    return [...rows].sort((a, b) => {
      const [left, right] = [column.sort(a), column.sort(b)];
      if (absent(left) || absent(right)) return Number(absent(left)) - Number(absent(right));
      return (left < right ? -1 : left > right ? 1 : 0) * sign;
    });
  }

  /** How many rows wait to come, or to take another place. */
  get waitingCount() {
    if (!this.waiting) return 0;
    return this.waiting.filter((row, place) => this.byKey.get(this.options.keyOf(row)) !== place).length;
  }

  #tellHold() {
    this.options.onHold?.(this.waitingCount, this.isHeld);
  }

  /** Hold until it is let go, or let go at once. */
  pin(isPinned = !this.isHeld) {
    this.hold = isPinned ? { ...this.hold, pinned: true } : { pointer: false, focus: false, pinned: false };
    this.#release();
  }

  #release() {
    if (!this.isHeld && this.waiting) this.setRows(this.given);
    else this.#tellHold();
  }

  request() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  /** Draw everything again, also what did not change. */
  repaint() {
    for (const element of this.elements.values()) for (const cell of element.children) cell.drawn = undefined;
    this.request();
  }

  render() {
    const { rowHeight } = this.options;
    const { scrollTop, clientHeight } = this.element;
    this.body.style.height = `${this.rows.length * rowHeight}px`;
    this.element.setAttribute("aria-rowcount", String(this.rows.length + 1));
    const first = Math.max(0, Math.floor(scrollTop / rowHeight) - SPARE_ROWS);
    const last = Math.min(this.rows.length, Math.ceil((scrollTop + clientHeight) / rowHeight) + SPARE_ROWS);
    const shown = new Map();
    for (let place = first; place < last; place += 1) shown.set(this.options.keyOf(this.rows[place]), place);
    const kept = this.byKey.get(this.active.key);
    if (kept !== undefined) shown.set(this.active.key, kept);
    for (const [key, element] of this.elements) {
      if (shown.has(key)) continue;
      element.remove();
      this.elements.delete(key);
    }
    this.flashes = 0;
    const moved = [...shown].filter(([key, place]) => this.elements.has(key) && this.elements.get(key).place !== place);
    this.body.classList.toggle("jumps", moved.length > MOVED_MAX);
    for (const [key, place] of shown) this.#fill(key, place);
    this.#rove(first);
  }

  #fill(key, place) {
    const row = this.rows[place];
    let element = this.elements.get(key);
    const isFresh = !element;
    if (isFresh) {
      element = this.#rowElement(key);
      this.elements.set(key, element);
      this.body.append(element);
    }
    element.place = place;
    const top = `translateY(${place * this.options.rowHeight}px)`;
    if (element.style.transform !== top) element.style.transform = top;
    element.setAttribute("aria-rowindex", String(place + 2));
    const isSelected = this.selected === key;
    const name = `row ${this.options.rowClass(row)}${isSelected ? " selected" : ""}${place % 2 ? " odd" : ""}`;
    if (element.className !== name) element.className = name;
    element.setAttribute("aria-selected", String(isSelected));
    this.columns.forEach((column, k) => this.#fillCell(element.children[k], column, row, isFresh));
  }

  #rowElement(key) {
    const isDragged = Boolean(this.options.symbolOf);
    const element = make("div", { class: "row", role: "row", draggable: isDragged });
    element.key = key;
    this.columns.forEach((column, k) =>
      element.append(
        make("div", { class: `cell ${column.align || ""}`, role: "gridcell", tabIndex: -1, "aria-colindex": k + 1 }),
      ),
    );
    return element;
  }

  #fillCell(cell, column, row, isFresh) {
    if (column.draw) {
      column.draw(cell, row);
      return;
    }
    put(cell, column.text(row));
    const heat = column.heat ? column.heat(row) : 0;
    const warm = !heat ? "" : column.scale === "amount" ? " amount" : heat > 0 ? " warm" : " cold";
    const name = `cell ${column.align || ""} ${column.tone?.(row) || ""}${warm}`;
    if (cell.className !== name) cell.className = name;
    if (cell.heat !== heat) {
      cell.heat = heat;
      cell.style.setProperty("--heat", `${Math.round(Math.min(1, Math.abs(heat)) * 100)}%`);
    }
    if (column.hint) {
      const hint = column.hint(row);
      if (cell.title !== hint) cell.title = hint;
    }
    if (column.flash) this.#flash(cell, column.flash(row), isFresh);
  }

  #flash(cell, value, isFresh) {
    const before = cell.flashed;
    cell.flashed = value;
    if (isFresh || before === undefined || before === value || !moves() || this.flashes >= FLASHES_MAX) return;
    const now = performance.now();
    if (now - (cell.flashedAt || 0) < FLASH_EVERY_MS) return;
    cell.flashedAt = now;
    this.flashes += 1;
    cell.animate([{ backgroundColor: value > before ? "var(--flash-up)" : "var(--flash-down)" }], {
      duration: FLASH_MS,
      easing: "ease-out",
    });
  }

  // -- keyboard: one cell of the table is in the order of tabs

  #rove(first) {
    const cells = this.body.querySelectorAll('[tabindex="0"]');
    const key = this.elements.has(this.active.key)
      ? this.active.key
      : this.rows[first] && this.options.keyOf(this.rows[first]);
    const wanted = this.elements.get(key)?.children[this.active.column];
    for (const cell of cells) if (cell !== wanted) cell.tabIndex = -1;
    if (wanted && wanted.tabIndex !== 0) wanted.tabIndex = 0;
  }

  /** The row that has the focus; without one, the row that the pointer is on. */
  get activeRow() {
    const isFocused = this.body.contains(document.activeElement);
    const place = this.byKey.get(isFocused ? this.active.key : (this.pointed ?? this.active.key));
    return place === undefined ? null : this.rows[place];
  }

  /** Focus the active row, or the first one. */
  focus() {
    if (!this.rows.length) return false;
    if (!this.byKey.has(this.active.key)) this.active.key = this.options.keyOf(this.rows[0]);
    this.#focusAt(this.byKey.get(this.active.key), this.active.column);
    return true;
  }

  /** One row further down or up. */
  step(rows) {
    const from = this.byKey.get(this.active.key);
    this.#focusAt(from === undefined ? 0 : from + rows, this.active.column);
  }

  #focusAt(place, column) {
    const at = Math.max(0, Math.min(this.rows.length - 1, place));
    this.active = {
      key: this.options.keyOf(this.rows[at]),
      column: Math.max(0, Math.min(this.columns.length - 1, column)),
    };
    const { rowHeight } = this.options;
    const top = at * rowHeight;
    const room = this.element.clientHeight - this.head.offsetHeight;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + rowHeight > this.element.scrollTop + room) this.element.scrollTop = top + rowHeight - room;
    this.render();
    const cell = this.elements.get(this.active.key)?.children[this.active.column];
    cell?.focus({ preventScroll: true });
    cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #rowOf(target) {
    const element = target.closest?.('[role="row"]');
    const place = element && this.byKey.get(element.key);
    return place === undefined || place === null ? null : this.rows[place];
  }

  select(key) {
    this.selected = key;
    this.request();
  }

  #listen() {
    const { options } = this;
    this.element.addEventListener("scroll", () => this.request(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("click", (event) => {
      const row = this.#rowOf(event.target);
      if (row) options.onPick?.(row, event);
    });
    this.body.addEventListener("dblclick", (event) => {
      const row = this.#rowOf(event.target);
      if (row) options.onOpen?.(row);
    });
    this.body.addEventListener("contextmenu", (event) => {
      const row = this.#rowOf(event.target);
      if (!row || !options.onMenu) return;
      event.preventDefault();
      options.onMenu(row, event.target.closest(".cell"));
    });
    this.body.addEventListener("dragstart", (event) => {
      const row = this.#rowOf(event.target);
      const symbol = row && options.symbolOf?.(row);
      if (!symbol) return;
      event.dataTransfer.setData("text/plain", symbol);
      event.dataTransfer.setData("application/x-jetscan-symbol", symbol);
      event.dataTransfer.effectAllowed = "copy";
    });
    this.body.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") this.#holding("pointer", true);
    });
    this.body.addEventListener("pointerover", (event) => {
      this.pointed = event.target.closest('[role="row"]')?.key ?? null;
    });
    this.body.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.#holding("pointer", false);
    });
    this.body.addEventListener("focusin", (event) => {
      const row = event.target.closest('[role="row"]');
      this.active = { key: row.key, column: [...row.children].indexOf(event.target.closest(".cell")) };
      this.#rove(0);
      this.#holding("focus", event.target.matches(":focus-visible"));
    });
    this.body.addEventListener("focusout", (event) => {
      if (!this.body.contains(event.relatedTarget)) this.#holding("focus", false);
    });
  }

  #holding(how, isOn) {
    if (this.hold[how] === isOn) return;
    this.hold[how] = isOn;
    this.#release();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".grid-body")) return;
    const place = this.byKey.get(this.active.key) ?? 0;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.options.rowHeight) - 2);
    const { column } = this.active;
    const steps = {
      ArrowDown: [place + 1, column],
      ArrowUp: [place - 1, column],
      ArrowRight: [place, column + 1],
      ArrowLeft: [place, column - 1],
      PageDown: [place + page, column],
      PageUp: [place - page, column],
      Home: [event.ctrlKey ? 0 : place, 0],
      End: [place, this.columns.length - 1],
    };
    if (steps[event.key]) {
      event.preventDefault();
      event.stopPropagation();
      this.#focusAt(...steps[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      if (this.activeRow)
        (event.key === "Enter" && this.options.onOpen ? this.options.onOpen : this.options.onPick)?.(
          this.activeRow,
          event,
        );
    } else if (event.key === "Escape") {
      event.target.blur();
    } else if (
      (event.key === "ContextMenu" || (event.shiftKey && event.key === "F10")) &&
      this.options.onMenu &&
      this.activeRow
    ) {
      event.preventDefault();
      this.options.onMenu(this.activeRow, event.target);
    }
  }

  /** Titles and texts of all rows, for a file. */
  table() {
    const told = this.columns.filter((column) => column.text);
    return [
      told.map((column) => column.name || column.title),
      ...this.rows.map((row) => told.map((column) => (column.value ? column.value(row) : column.text(row)))),
    ];
  }
}
