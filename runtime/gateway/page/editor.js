// A text field for rules: coloured words, completion at the caret, and what is wrong underlined where it stands.

import { make, freshId } from "./dom.js";
import { pieces, completions } from "./language.js";

export class Editor {
  /** `onchange(text)` after every change; `lists()` gives the toplists that may be named. */
  constructor({ label, onchange, lists = () => [], onsubmit = () => {} }) {
    this.onchange = onchange;
    this.lists = lists;
    this.faults = [];
    this.found = { items: [], from: 0, to: 0 };
    this.at = 0;
    const id = freshId("complete");
    this.behind = make("pre", { "aria-hidden": "true" });
    this.field = make("textarea", {
      "aria-label": label,
      spellcheck: false,
      autocapitalize: "off",
      autocomplete: "off",
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": id,
      "aria-autocomplete": "list",
      rows: 4,
      maxlength: 4096,
      placeholder: "price > 5 and change_pct_5m > 2 and volume_daily > 100k",
      on: {
        input: () => {
          this.#changed();
          this.#complete();
        },
        scroll: () => {
          this.behind.scrollTop = this.field.scrollTop;
        },
        blur: () => setTimeout(() => this.#close(), 150),
        keydown: (event) => this.#key(event, onsubmit),
        click: () => this.#close(),
      },
    });
    this.list = make("ul", {
      class: "complete",
      role: "listbox",
      id,
      "aria-label": "Completions",
      hidden: true,
      on: { pointerdown: (event) => event.preventDefault() },
    });
    this.element = make("div", { class: "editor" }, this.behind, this.field, this.list);
  }

  get text() {
    return this.field.value;
  }

  set(text) {
    this.field.value = text;
    this.faults = [];
    this.#paint();
  }

  /** Errors of the text: {position, length}. */
  mark(faults) {
    this.faults = faults.filter((one) => Number.isInteger(one.position));
    this.field.setAttribute("aria-invalid", String(faults.length > 0));
    this.#paint();
  }

  /** Put a text in place of a part of it. */
  replace(from, to, text) {
    this.field.focus();
    this.field.setRangeText(text, from, to, "end");
    this.#changed();
    this.#close();
  }

  #changed() {
    this.faults = [];
    this.#paint();
    this.onchange(this.text);
  }

  #paint() {
    const parts = pieces(this.text).map(([kind, text, from]) => {
      const isFault = this.faults.some(
        (one) => from < one.position + Math.max(1, one.length || 1) && from + text.length > one.position && text.trim(),
      );
      const name = [kind ? `t-${kind}` : "", isFault ? "t-fault" : ""].filter(Boolean).join(" ");
      return name ? make("span", { class: name }, text) : text;
    });
    const isAtEnd = this.faults.some((one) => one.position >= this.text.trimEnd().length);
    this.behind.replaceChildren(...parts, isAtEnd ? make("span", { class: "t-fault" }, " ") : "", "\n");
  }

  #complete(isAsked = false) {
    this.found = completions(this.text, this.field.selectionStart, this.lists());
    if (
      !this.found.items.length ||
      (!isAsked && this.found.to - this.found.from < 1 && this.found.items[0].kind !== "list")
    )
      return this.#close();
    this.at = 0;
    this.list.replaceChildren(
      ...this.found.items.map((item, place) =>
        make(
          "li",
          { role: "option", id: `${this.list.id}-${place}`, on: { click: () => this.#take(place) } },
          make("code", { class: `t-${item.kind}` }, item.text),
          make("span", { class: "faint" }, item.hint),
        ),
      ),
    );
    this.list.hidden = false;
    this.field.setAttribute("aria-expanded", "true");
    this.#placeList();
    this.#mark();
  }

  /** Below the caret's line, as far as the field is monospaced. */
  #placeList() {
    const before = this.text.slice(0, this.found.from).split("\n");
    const height = parseFloat(getComputedStyle(this.field).lineHeight) || 20;
    const wrapped = Math.floor(
      before[before.length - 1].length / Math.max(20, Math.floor(this.field.clientWidth / 7.9)),
    );
    this.list.style.top = `${Math.min((before.length + wrapped) * height + 12 - this.field.scrollTop, this.field.offsetHeight + 4)}px`;
    this.list.style.left = `${Math.min((before[before.length - 1].length % 60) * 7.8 + 8, Math.max(0, this.element.clientWidth - 340))}px`;
  }

  #mark() {
    [...this.list.children].forEach((one, place) => one.setAttribute("aria-selected", String(place === this.at)));
    const chosen = this.list.children[this.at];
    if (!chosen) return;
    this.field.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  }

  #close() {
    this.list.hidden = true;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
  }

  #take(place) {
    const item = this.found.items[place];
    if (item) this.replace(this.found.from, this.found.to, item.kind === "metric" ? `${item.text} ` : item.text);
  }

  #key(event, onsubmit) {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") return onsubmit();
    if ((event.ctrlKey || event.metaKey) && event.key === " ") {
      event.preventDefault();
      return this.#complete(true);
    }
    if (this.list.hidden) return undefined;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.at = (this.at + step + this.found.items.length) % this.found.items.length;
    else if (event.key === "Tab" || event.key === "Enter") this.#take(this.at);
    else if (event.key === "Escape") this.#close();
    else return undefined;
    event.preventDefault();
    event.stopPropagation();
    if (step) this.#mark();
    return undefined;
  }
}
