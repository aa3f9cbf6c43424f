// Dialogs, and short notes at the foot of the page.

import { make, byId, button, freshId } from "./dom.js";

/** A dialog with a title; returns {element, body, close}. Escape and its cross close it. */
export function open(title, content, { wide = false, onclose } = {}) {
  const id = freshId("dialog");
  const body = make("div", { class: "dialog-body" }, content);
  const element = make(
    "dialog",
    { class: wide ? "dialog wide" : "dialog", "aria-labelledby": id },
    make(
      "header",
      { class: "dialog-head" },
      make("h2", { id }, title),
      button("✕", () => element.close(), { class: "icon", "aria-label": "Close" }),
    ),
    body,
  );
  // The browser gives the focus back by itself, at once; this event comes later, when keys may have gone elsewhere.
  element.addEventListener("close", () => {
    element.remove();
    onclose?.();
  });
  element.addEventListener("pointerdown", (event) => {
    if (event.target === element) element.close();
  });
  document.body.append(element);
  element.showModal();
  return { element, body, close: () => element.close() };
}

/** Ask before something that cannot be taken back. */
export function confirm(title, text, verb) {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = open(
      title,
      [
        make("p", {}, text),
        make(
          "div",
          { class: "actions" },
          button("Cancel", () => dialog.close()),
          button(
            verb,
            () => {
              answer = true;
              dialog.close();
            },
            { class: "danger" },
          ),
        ),
      ],
      { onclose: () => resolve(answer) },
    );
  });
}

/** A text that is asked for; null = cancelled. */
export function prompt(title, label, value = "") {
  return new Promise((resolve) => {
    let answer = null;
    const input = make("input", { value, required: true, maxlength: 100 });
    const form = make(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            answer = input.value.trim();
            dialog.close();
          },
        },
      },
      make("label", { class: "field" }, make("span", { class: "field-title" }, label), input),
      make(
        "div",
        { class: "actions" },
        button("Cancel", () => dialog.close()),
        make("button", { type: "submit", class: "primary" }, "Save"),
      ),
    );
    const dialog = open(title, form, { onclose: () => resolve(answer) });
    input.select();
  });
}

const NOTE_MS = 6_000;

/** A note that goes away; `kind` is good, bad or empty. */
export function note(text, kind = "") {
  const element = make(
    "div",
    { class: `note-card ${kind}` },
    make("span", {}, text),
    button("✕", () => element.remove(), { class: "icon", "aria-label": "Dismiss" }),
  );
  byId("notes").append(element);
  setTimeout(() => element.remove(), NOTE_MS);
}

/** Do something; what goes wrong is a note. Returns whether it went well. */
export async function attempt(action, done = "") {
  try {
    await action();
    if (done) note(done, "good");
    return true;
  } catch (error) {
    note(error.message || String(error), "bad");
    return false;
  }
}
