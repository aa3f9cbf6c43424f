// What belongs to the user: preferences, sounds, API keys, the password.

import { make, button, field, choice, put } from "./dom.js";
import * as dialog from "./dialog.js";
import * as preferences from "./preferences.js";
import * as sounds from "./sounds.js";
import { THEMES, COLORS } from "./appearance.js";
import { ask, changePassword } from "./session.js";
import { dayOf, msOf } from "./format.js";

const check = (title, isOn, onchange) =>
  make(
    "label",
    { class: "check" },
    make("input", { type: "checkbox", checked: isOn, on: { change: (event) => onchange(event.target.checked) } }),
    title,
  );

export function preferencesDialog() {
  const profile = make("div", { class: "fields" });
  dialog.open("Preferences", [
    make(
      "div",
      { class: "fields" },
      field(
        "Theme",
        choice(THEMES, preferences.get("theme"), (value) => preferences.set("theme", value)),
      ),
      field(
        "Rising and falling",
        choice(COLORS, preferences.get("colors"), (value) => preferences.set("colors", value)),
      ),
    ),
    check("Cells flash and rows move when they change", preferences.get("flashes"), (value) =>
      preferences.set("flashes", value),
    ),
    check("Cells are tinted by how large their value is", preferences.get("heat"), (value) =>
      preferences.set("heat", value),
    ),
    make("p", { class: "hint" }, "Nothing flashes or moves where the system asks for reduced motion."),
    profile,
    make(
      "p",
      { class: "hint" },
      preferences.isKept()
        ? "Kept on the server, for every browser you sign in with."
        : "Kept in this browser: the server keeps none now.",
    ),
  ]);
  showProfile(profile);
}

async function showProfile(place) {
  const told = await ask("GET", "/user/profile").catch(() => null);
  if (!told) return;
  const [name, email] = [
    make("input", { value: told.name || "", maxlength: 100 }),
    make("input", { type: "email", value: told.email || "", maxlength: 200 }),
  ];
  place.replaceChildren(
    field("Your name", name),
    field("Mail", email),
    button("Save profile", () =>
      dialog.attempt(
        () => ask("PUT", "/user/profile", { ...told, name: name.value, email: email.value }),
        "Your profile is saved",
      ),
    ),
  );
}

export function soundDialog() {
  const sound = preferences.get("sound");
  const [from, to] = [
    make("input", { type: "time", value: sound.quiet?.from || "" }),
    make("input", { type: "time", value: sound.quiet?.to || "" }),
  ];
  const quiet = () => sounds.set({ quiet: from.value && to.value ? { from: from.value, to: to.value } : null });
  for (const input of [from, to]) input.addEventListener("change", quiet);
  const rules = make("div", {}, make("p", { class: "faint" }, "Reading the rules…"));
  dialog.open("Sounds and notifications", [
    check("Sound", sound.on, (value) => sounds.set({ on: value })),
    field(
      "Volume",
      make("input", {
        type: "range",
        min: 0,
        max: 1,
        step: 0.05,
        value: sound.volume,
        on: {
          change: (event) => {
            sounds.set({ volume: Number(event.target.value) });
            sounds.play("chime");
          },
        },
      }),
    ),
    check("Say symbol and alert aloud", sound.speech, (value) => sounds.set({ speech: value })),
    check("Notifications on the desktop while the page is in the background", sound.desktop, async (value) => {
      if (!value || (await dialog.attempt(sounds.askDesktop))) sounds.set({ desktop: value });
    }),
    make("div", { class: "fields" }, field("Quiet from (New York)", from), field("until", to)),
    make("h3", {}, "Sound of each rule"),
    rules,
  ]);
  showRules(rules);
}

async function showRules(place) {
  const { rules } = await ask("GET", "/rules").catch(() => ({ rules: [] }));
  const tones = Object.keys(sounds.TONES);
  place.replaceChildren(
    ...(rules.length
      ? rules.map((rule) =>
          make(
            "div",
            { class: "settings-line" },
            make("span", {}, rule.name),
            choice(
              tones,
              preferences.get("sound").rules[rule.id] || "chime",
              (tone) => {
                sounds.set({ rules: { ...preferences.get("sound").rules, [rule.id]: tone } });
                sounds.play(tone);
              },
              { "aria-label": `Sound of ${rule.name}` },
            ),
          ),
        )
      : [make("p", { class: "faint" }, "There are no rules.")]),
  );
}

// -- API keys

export function keysDialog() {
  const list = make("div", {});
  const fresh = make("div", { role: "status" });
  const name = make("input", {
    placeholder: "What it is for",
    required: true,
    maxlength: 100,
    "aria-label": "What it is for",
  });
  const submit = async (event) => {
    event.preventDefault();
    await dialog.attempt(async () => {
      const told = await ask("POST", "/auth/keys", { name: name.value.trim() });
      fresh.replaceChildren(
        make("p", {}, "This is the key. It is shown once:"),
        make("p", { class: "secret" }, told.key || told.token || told.secret || ""),
      );
      name.value = "";
      await show();
    });
  };
  const show = async () => {
    try {
      const told = await ask("GET", "/auth/keys");
      const keys = told.keys || [];
      list.replaceChildren(
        ...(keys.length
          ? keys.map((one) =>
              make(
                "div",
                { class: "settings-line" },
                make(
                  "span",
                  {},
                  make("b", {}, one.name || one.id),
                  make(
                    "span",
                    { class: "faint" },
                    `  ${one.prefix ? `${one.prefix}…  ` : ""}${one.created_at ? `made ${dayOf(msOf(one.created_at))}` : ""}${one.last_used_at ? `, used ${dayOf(msOf(one.last_used_at))}` : ""}`,
                  ),
                ),
                button(
                  "Revoke",
                  async () => {
                    if (
                      await dialog.attempt(
                        () => ask("DELETE", `/auth/keys/${one.id}`),
                        "The key opens nothing any more",
                      )
                    )
                      await show();
                  },
                  { class: "danger" },
                ),
              ),
            )
          : [make("p", { class: "faint" }, "No key yet.")]),
      );
    } catch (error) {
      put(list, error.isAway ? "This server has no API keys now." : error.message);
    }
  };
  dialog.open("API keys", [
    make(
      "p",
      { class: "hint" },
      "A key does over REST and WebSocket what you may do yourself: Authorization: Bearer jsk_…",
    ),
    list,
    fresh,
    make(
      "form",
      { class: "actions", on: { submit } },
      name,
      make("button", { type: "submit", class: "primary" }, "Make a key"),
    ),
  ]);
  show();
}

export function passwordDialog() {
  const input = (title, name) => [
    name,
    make("input", {
      type: "password",
      required: true,
      autocomplete: name === "old" ? "current-password" : "new-password",
      minlength: name === "old" ? 1 : 12,
    }),
    title,
  ];
  const fields = [input("Password now", "old"), input("New password", "new"), input("The new one again", "again")];
  const fault = make("p", { class: "bad", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    const [old, fresh, again] = fields.map(([, one]) => one.value);
    if (fresh !== again) return put(fault, "The new passwords differ");
    try {
      await changePassword(old, fresh);
      opened.close();
      dialog.note("The password is changed; other sign-ins have ended", "good");
    } catch (error) {
      put(fault, error.message);
    }
    return undefined;
  };
  const opened = dialog.open(
    "Change password",
    make(
      "form",
      { on: { submit } },
      fields.map(([, one, title]) => field(title, one)),
      fault,
      make("div", { class: "actions" }, make("button", { type: "submit", class: "primary" }, "Change")),
    ),
  );
}
