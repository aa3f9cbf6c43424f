// Where a user is told of alerts outside the page, and of which.

import { make, button, field, choice, put } from "./dom.js";
import * as dialog from "./dialog.js";
import { ask } from "./session.js";

const KINDS = {
  webhook: [
    ["url", "Address", { type: "url", required: true }],
    ["secret", "Secret that signs it", { type: "password", autocomplete: "off" }],
  ],
  email: [["to", "Mail address", { type: "email", required: true }]],
  discord: [["url", "Address of the webhook", { type: "url", required: true }]],
  telegram: [
    ["token", "Token of the bot", { type: "password", required: true, autocomplete: "off" }],
    ["chat_id", "Chat id", { required: true }],
  ],
};

export function open() {
  const list = make("div", {});
  const what = make("div", {});
  dialog.open(
    "Alert channels",
    [
      list,
      make(
        "div",
        { class: "actions" },
        button("New channel", () => edit(null, () => show(list)), { class: "primary" }),
      ),
      make("h3", {}, "What you are told"),
      what,
    ],
    { wide: true },
  );
  show(list);
  showSubscriptions(what);
}

async function show(list) {
  try {
    const told = await ask("GET", "/channels").catch((error) => {
      if (error.status !== 404) throw error;
      return ask("GET", "/user/channels");
    });
    const channels = told.channels || [];
    list.replaceChildren(
      ...(channels.length
        ? channels.map((one) => line(one, () => show(list)))
        : [make("p", { class: "faint" }, "No channel yet: alerts are on this page only.")]),
    );
  } catch (error) {
    put(list, error.isAway ? "Channels are kept with jetscan users channel on this server." : error.message);
  }
}

function line(channel, again) {
  const said = make("span", { role: "status" });
  const test = async () => {
    put(said, "Sending…");
    try {
      const told = await ask("POST", `/channels/${encodeURIComponent(channel.name)}/test`);
      said.className = told.ok ? "good" : "bad";
      put(said, told.ok ? "It arrived" : told.detail || "It did not arrive");
    } catch (error) {
      said.className = "bad";
      put(said, error.message);
    }
  };
  return make(
    "div",
    { class: "settings-line" },
    make(
      "span",
      {},
      make("b", {}, channel.name),
      channel.fault ? make("span", { class: "bad" }, `  ${channel.fault}`) : null,
      make("span", { class: "faint" }, `  ${channel.kind}  ${channel.to || channel.chat_id || ""}`),
    ),
    said,
    button("Test", test),
    button("Change", () => edit(channel, again)),
    button(
      "Remove",
      async () => {
        if (
          await dialog.attempt(
            () => ask("DELETE", `/channels/${encodeURIComponent(channel.name)}`),
            `${channel.name} is removed`,
          )
        )
          again();
      },
      { class: "danger" },
    ),
  );
}

/** Secrets come back as dots; what is left empty stays as it is. */
const isHidden = (value) => /^•+$/.test(value || "");

function edit(channel, again) {
  const place = make("div", { class: "fields" });
  let inputs = {};
  const fill = (kind) => {
    inputs = Object.fromEntries(
      KINDS[kind].map(([name, , more]) => {
        const isKept = channel?.kind === kind && isHidden(channel[name]);
        return [
          name,
          make("input", {
            ...more,
            required: more.required && !isKept,
            value: isKept ? "" : channel?.[name] || "",
            placeholder: isKept ? "as it is" : null,
          }),
        ];
      }),
    );
    place.replaceChildren(...KINDS[kind].map(([name, title]) => field(title, inputs[name])));
  };
  const kind = choice(Object.keys(KINDS), channel?.kind || "webhook", fill);
  const name = make("input", {
    value: channel?.name || "",
    required: true,
    pattern: "[A-Za-z0-9_\\-]{1,64}",
    disabled: Boolean(channel),
    title: "1 to 64 letters, digits, - and _",
  });
  fill(kind.value);
  const fault = make("p", { class: "bad", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    const body = {
      name: name.value,
      kind: kind.value,
      ...Object.fromEntries(
        Object.entries(inputs)
          .filter(([, input]) => input.value)
          .map(([key, input]) => [key, input.value.trim()]),
      ),
    };
    try {
      await (channel
        ? ask("PUT", `/channels/${encodeURIComponent(channel.name)}`, body)
        : ask("POST", "/channels", body));
      opened.close();
      again();
    } catch (error) {
      put(fault, error.message);
    }
  };
  const opened = dialog.open(
    channel ? `Change ${channel.name}` : "New channel",
    make(
      "form",
      { on: { submit } },
      make("div", { class: "fields" }, field("Name", name), field("Kind", kind)),
      place,
      fault,
      make("div", { class: "actions" }, make("button", { type: "submit", class: "primary" }, "Save")),
    ),
  );
}

/** The profile of deliveries: which rules, quiet hours, the budget, by which channels. */
async function showSubscriptions(place) {
  let profile;
  try {
    profile = await ask("GET", "/user/subscriptions");
  } catch (error) {
    put(place, error.isAway ? "Subscriptions are kept with jetscan users set on this server." : error.message);
    return;
  }
  const subscriptions = profile.subscriptions || [];
  const isAll = subscriptions.some((one) => !Object.values(one).some((value) => value?.length));
  const { rules } = await ask("GET", "/rules").catch(() => ({ rules: [] }));
  const chosen = new Set(subscriptions.flatMap((one) => one.rules || []));
  const boxes = rules.map((rule) =>
    make(
      "label",
      { class: "check" },
      make("input", { type: "checkbox", checked: chosen.has(rule.id), value: rule.id }),
      rule.name,
    ),
  );
  const which = choice(
    [
      ["none", "Nothing"],
      ["all", "Every alert"],
      ["some", "Alerts of these rules"],
      ...(subscriptions.length && !isAll && subscriptions.some((one) => one.symbols || one.watchlists)
        ? [["kept", "As it is set elsewhere"]]
        : []),
    ],
    isAll ? "all" : chosen.size ? "some" : subscriptions.length ? "kept" : "none",
    (value) => {
      some.hidden = value !== "some";
    },
  );
  const some = make("div", { class: "chips", hidden: which.value !== "some" }, boxes);
  const quiet = profile.quiet?.[0] || {};
  const [from, to] = [
    make("input", { type: "time", value: quiet.from || "" }),
    make("input", { type: "time", value: quiet.to || "" }),
  ];
  const cooldown = make("input", { type: "number", min: 0, max: 86_400, value: profile.cooldown_s ?? 300 });
  const save = () =>
    dialog.attempt(async () => {
      const wanted = {
        all: [{}],
        none: [],
        some: [
          {
            rules: boxes
              .map((box) => box.firstChild)
              .filter((box) => box.checked)
              .map((box) => box.value),
          },
        ],
        kept: subscriptions,
      }[which.value];
      const quieter =
        from.value && to.value
          ? [
              { ...quiet, from: from.value, to: to.value, zone: quiet.zone || "America/New_York" },
              ...(profile.quiet || []).slice(1),
            ]
          : (profile.quiet || []).slice(1);
      const channels = (await ask("GET", "/channels").catch(() => ({ channels: [] }))).channels.map((one) => one.name);
      await ask("PUT", "/user/subscriptions", {
        ...profile,
        subscriptions: wanted,
        quiet: quieter,
        cooldown_s: Number(cooldown.value),
        channels,
      });
    }, "Saved: it holds from the next alert on");
  place.replaceChildren(
    make(
      "div",
      { class: "fields" },
      field("Of", which),
      field("Not again within, s", cooldown),
      field("Quiet from (New York)", from),
      field("until", to),
    ),
    some,
    make("div", { class: "actions" }, button("Save", save, { class: "primary" })),
  );
}
