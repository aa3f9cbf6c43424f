// A menu beside its button, by pointer and by keys; one at a time.

import { make } from "./dom.js";

let open = null;

export function close() {
  if (!open) return;
  const { element, anchor, leave } = open;
  open = null;
  leave();
  const hadFocus = element.contains(document.activeElement);
  element.remove();
  anchor.setAttribute("aria-expanded", "false");
  if (hadFocus) anchor.focus();
}

/** Show items below a button: {text, act, checked, danger, hint, disabled}, or "-" between two groups, or {title}. */
export function show(anchor, items, label = anchor.getAttribute("aria-label") || anchor.textContent) {
  const again = open?.anchor === anchor;
  close();
  if (again) return;
  const element = make("div", { class: "menu", role: "menu", "aria-label": label }, items.map(entry));
  document.body.append(element);
  place(element, anchor.getBoundingClientRect());
  anchor.setAttribute("aria-expanded", "true");
  anchor.setAttribute("aria-haspopup", "menu");
  const outside = (event) => {
    if (!element.contains(event.target) && !anchor.contains(event.target)) close();
  };
  element.addEventListener("keydown", (event) => move(event, element));
  addEventListener("pointerdown", outside, true);
  addEventListener("resize", close);
  open = {
    element,
    anchor,
    leave: () => {
      removeEventListener("pointerdown", outside, true);
      removeEventListener("resize", close);
    },
  };
  entries(element)[0]?.focus();
}

function entry(item) {
  if (item === "-") return make("div", { class: "menu-line", role: "separator" });
  if (item.title) return make("div", { class: "menu-title", role: "presentation" }, item.title);
  const isChoice = item.checked !== undefined;
  return make(
    "button",
    {
      type: "button",
      class: `menu-item${item.danger ? " danger" : ""}`,
      role: isChoice ? "menuitemradio" : "menuitem",
      "aria-checked": isChoice ? String(item.checked) : null,
      tabIndex: -1,
      disabled: item.disabled || null,
      on: {
        click: () => {
          close();
          item.act();
        },
      },
    },
    make(
      "span",
      { class: "menu-mark", "aria-hidden": "true" },
      item.swatch ? make("span", { class: `dot group-${item.swatch}` }) : item.checked ? "✓" : "",
    ),
    make("span", { class: "menu-text" }, item.text),
    item.hint ? make("kbd", {}, item.hint) : null,
  );
}

const entries = (element) => [...element.querySelectorAll(".menu-item:not([disabled])")];

function place(element, at) {
  const { offsetWidth: width, offsetHeight: height } = element;
  const top = at.bottom + height + 8 > innerHeight && at.top > height + 8 ? at.top - height - 4 : at.bottom + 4;
  element.style.left = `${Math.max(6, Math.min(at.left, innerWidth - width - 6))}px`;
  element.style.top = `${Math.max(6, Math.min(top, innerHeight - height - 6))}px`;
}

function move(event, element) {
  const all = entries(element);
  const at = all.indexOf(document.activeElement);
  const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
  if (event.key in steps) {
    event.preventDefault();
    all[(steps[event.key] + all.length) % all.length]?.focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    close();
  } else if (event.key.length === 1 && /\w/.test(event.key)) {
    all
      .find((one) => one.querySelector(".menu-text").textContent.toLowerCase().startsWith(event.key.toLowerCase()))
      ?.focus();
  }
  event.stopPropagation();
}
