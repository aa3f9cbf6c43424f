// The menus of the top line: layouts, the user, and the keys.

import { byId, make, button, download } from "./dom.js";
import * as dialog from "./dialog.js";
import * as layout from "./layout.js";
import * as menu from "./menu.js";
import * as session from "./session.js";
import { KEYS } from "./keys.js";

const account = () => import("./account.js");

export function begin() {
  byId("help-button").addEventListener("click", help);
  byId("layout-button").addEventListener("click", (event) => layouts(event.currentTarget));
  const user = byId("user-button");
  user.textContent = session.user().name || session.user().user_id;
  user.addEventListener("click", () => menu.show(user, items(), "User"));
}

function items() {
  const { user_id: id, roles } = session.user();
  const isSigned = Boolean(session.token());
  return [
    { title: `${id}${roles?.length ? ` · ${roles.join(", ")}` : ""}` },
    { text: "Preferences…", act: async () => (await account()).preferencesDialog() },
    { text: "Sounds and notifications…", act: async () => (await account()).soundDialog() },
    { text: "Alert channels…", act: async () => (await import("./channels.js")).open() },
    { text: "API keys…", act: async () => (await account()).keysDialog() },
    isSigned ? { text: "Change password…", act: async () => (await account()).passwordDialog() } : null,
    "-",
    { text: "API documentation", act: () => window.open("/docs", "_blank", "noopener") },
    { text: "About", act: about },
    isSigned
      ? { text: "Sign out", act: session.signOut }
      : session.methods().password
        ? { text: "Sign in…", act: signIn }
        : null,
  ].filter(Boolean);
}

async function signIn() {
  const { ask } = await import("./signin.js");
  await ask();
  location.reload();
}

function layouts(anchor) {
  const current = layout.name();
  menu.show(
    anchor,
    [
      { title: "Layouts" },
      ...layout.names().map((name) => ({ text: name, checked: name === current, act: () => layout.open(name) })),
      "-",
      { text: "Save as…", act: saveAs },
      {
        text: "Export to a file",
        act: () => download(`jetscan-${current.toLowerCase()}.json`, layout.exported(), "application/json"),
      },
      { text: "Import from a file…", act: fromFile },
      layout.MADE[current]
        ? null
        : {
            text: `Delete ${current}`,
            danger: true,
            act: () => {
              layout.forget(current);
              layout.open("Scan");
            },
          },
    ].filter(Boolean),
    "Layouts",
  );
}

async function saveAs() {
  const name = await dialog.prompt("Save this layout", "Name", layout.MADE[layout.name()] ? "" : layout.name());
  if (!name) return;
  layout.keepAs(name);
  dialog.note(`Layout ${name} is saved`, "good");
}

function fromFile() {
  const input = make("input", {
    type: "file",
    accept: "application/json,.json",
    on: {
      change: async () => {
        if (input.files[0])
          await dialog.attempt(async () => layout.imported(await input.files[0].text()), "The layout is imported");
      },
    },
  });
  input.click();
}

export function help() {
  dialog.open("Keys", [
    make(
      "table",
      { class: "facts" },
      make(
        "tbody",
        {},
        KEYS.map(([key, what]) =>
          make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, what)),
        ),
      ),
    ),
    make(
      "p",
      { class: "hint" },
      "Letters act on the row that has the focus, or that the pointer is on. Drag a symbol onto a watchlist to add it.",
    ),
  ]);
  return true;
}

function about() {
  dialog.open("About", [
    make("p", {}, "Jetscan, a real-time market scanner."),
    make(
      "p",
      {},
      "Charts: ",
      make(
        "a",
        { href: "https://www.tradingview.com/", target: "_blank", rel: "noopener" },
        "TradingView Lightweight Charts™",
      ),
      ", Copyright © 2026 TradingView, Inc., under the ",
      make("a", { href: "/page/vendor/lightweight-charts/LICENSE", target: "_blank" }, "Apache License 2.0"),
      ".",
    ),
    button("Keys", help),
  ]);
}
