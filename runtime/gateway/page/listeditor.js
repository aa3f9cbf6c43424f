// Toplists of one's own: what is ranked, which symbols, which columns.

import { make, button, field, choice, put } from "./dom.js";
import * as dialog from "./dialog.js";
import * as metrics from "./metrics.js";
import { ask } from "./session.js";
import { wordsOf } from "./format.js";

const WINDOWS = [["", "as its name says"], "1m", "5m", "15m", "1h", "1d"];
const FILTERS = [
  ["min_volume", "Volume from, shares"],
  ["min_change_pct", "Change from, %"],
  ["price_min", "Price from, $"],
  ["price_max", "Price up to, $"],
  ["market_cap_min", "Market cap from, $"],
  ["market_cap_max", "Market cap up to, $"],
];
const COLUMNS_MAX = 8;

/** The dialog; `shown` is told the id of the list to show afterwards. */
export async function open(current, shown) {
  const opened = dialog.open("Toplists", make("p", {}, "Reading…"), { wide: true });
  const told = await ask("GET", "/toplists").catch(() => ({ user_toplists: [], system_toplists: [] }));
  const own = told.user_toplists || [];
  const now = own.find((one) => one.id === current);
  const start = (list) =>
    opened.body.replaceChildren(
      ...form(list, own, told.system_toplists || [], start, (id) => {
        opened.close();
        shown(id);
      }),
    );
  start(now || null);
}

function form(list, own, system, start, done) {
  const is = list || {};
  const names = metrics.all().map((one) => one.name);
  const ids = make(
    "datalist",
    { id: "list-metrics" },
    names.map((name) => new Option(wordsOf(name), name)),
  );
  const name = make("input", { value: is.name || "", required: true, maxlength: 100, placeholder: "Cheap gainers" });
  const metric = make("input", {
    value: is.metric || "",
    required: true,
    list: "list-metrics",
    spellcheck: false,
    placeholder: "change_pct_5m",
  });
  const window = choice(WINDOWS, is.time_window || "");
  const order = choice(
    [
      ["desc", "Highest first"],
      ["asc", "Lowest first"],
    ],
    is.sort_order || "desc",
  );
  const filters = FILTERS.map(([id, title]) => [
    id,
    title,
    make("input", { type: "number", step: "any", value: is.filters?.[id] ?? "" }),
  ]);
  const exchange = make("input", { value: is.filters?.exchange ?? "", size: 8 });
  const columns = make("input", {
    value: (is.columns || []).join(", "),
    spellcheck: false,
    placeholder: "relative_volume_5m, rsi_14",
  });
  const scheme = choice(
    [
      ["", "As usual"],
      ["positive", "Positive"],
      ["negative", "Negative"],
      ["neutral", "Neutral"],
    ],
    is.color_scheme || "",
  );
  const fault = make("p", { class: "bad", role: "alert" });
  const body = () => {
    const given = Object.fromEntries(
      filters.filter(([, , input]) => input.value !== "").map(([id, , input]) => [id, Number(input.value)]),
    );
    if (exchange.value.trim()) given.exchange = exchange.value.trim();
    const whole = {
      ...is,
      name: name.value.trim(),
      metric: metric.value.trim(),
      sort_order: order.value,
      filters: given,
      columns: columns.value
        .split(/[\s,]+/)
        .filter(Boolean)
        .slice(0, COLUMNS_MAX),
    };
    for (const [key, value] of [
      ["time_window", window.value],
      ["color_scheme", scheme.value],
    ]) {
      if (value) whole[key] = value;
      else delete whole[key];
    }
    return whole;
  };
  const save = async (event) => {
    event.preventDefault();
    put(fault, "");
    try {
      const saved = list
        ? await ask("PUT", `/toplists/user/${list.id}`, body())
        : await ask("POST", "/toplists/user", body());
      dialog.note(`${saved.name} is ranked from the next second on`, "good");
      done(saved.id);
    } catch (error) {
      put(fault, error.message);
    }
  };
  const remove = async () => {
    if (
      !(await dialog.confirm(
        "Delete this list?",
        `${list.name} is ranked no more. Rules that name it are left out.`,
        "Delete",
      ))
    )
      return;
    if (await dialog.attempt(() => ask("DELETE", `/toplists/user/${list.id}`), `${list.name} is deleted`))
      done(system[0]?.id || "gainers_5m");
  };
  return [
    make(
      "div",
      { class: "actions" },
      make("span", { class: "push faint" }, "Which list"),
      choice(
        [["", "A new list"], ...own.map((one) => [one.id, one.name])],
        list?.id || "",
        (id) => start(own.find((one) => one.id === id) || null),
        { "aria-label": "Which list" },
      ),
    ),
    make(
      "form",
      { on: { submit: save } },
      ids,
      make(
        "div",
        { class: "fields" },
        field("Name", name),
        field("Ranked by", metric),
        field("Window", window),
        field("Order", order),
      ),
      make("h3", {}, "Only symbols with"),
      make(
        "div",
        { class: "fields" },
        filters.map(([, title, input]) => field(title, input)),
        field("Exchange", exchange),
      ),
      make("div", { class: "fields" }, field(`More columns, up to ${COLUMNS_MAX}`, columns), field("Colours", scheme)),
      make(
        "p",
        { class: "hint" },
        "Metrics complete as you type. A window is for change_pct, volume, rsi, relative_volume and vwap_dist; other names have theirs.",
      ),
      fault,
      make(
        "div",
        { class: "actions" },
        list ? make("span", { class: "push" }, button("Delete", remove, { class: "danger" })) : null,
        make("button", { type: "submit", class: "primary" }, list ? "Save" : "Create list"),
      ),
    ),
  ];
}
