// The rules: a list of them, and beside it the editor of one.

import { make as element, button, put } from "./dom.js";
import { Grid } from "./table.js";
import { ask, user, isAdmin } from "./session.js";
import * as alerts from "./alerts.js";
import * as dialog from "./dialog.js";
import { msOf, dayOf, minuteOf } from "./format.js";
import { RuleForm } from "./ruleform.js";
import { textOf, matchOf } from "./ruletext.js";

class Rules {
  constructor(context) {
    this.context = context;
    this.rules = [];
    this.counts = new Map();
    context.bar.append(
      button("New rule", () => this.edit(null), { class: "primary" }),
      (this.box = element("input", {
        type: "search",
        placeholder: "Filter",
        "aria-label": "Filter rules",
        size: 10,
        on: { input: () => this.show() },
      })),
      (this.note = element("span", { class: "faint push" })),
    );
    this.grid = new Grid(context.body, {
      label: "Rules",
      columns: this.columns(),
      keyOf: (rule) => rule.id,
      onPick: (rule, event) => this.pick(rule, event),
      rowClass: (rule) => (rule.enabled === false ? "done" : ""),
    });
    this.grid.sort = { id: "name", falling: false };
    this.empty = element("p", { class: "empty", hidden: true }, "No rule yet.");
    context.body.append(this.empty);
    for (const end of [alerts.heard.on((entry) => this.count(entry)), () => this.grid.end()]) context.end(end);
    for (const entry of alerts.entries()) if (entry.alert) this.count(entry);
    this.actions = { focus: () => this.grid.focus() };
    this.load();
  }

  columns() {
    return [
      {
        id: "on",
        title: "On",
        width: "34px",
        align: "center",
        draw: (cell, rule) => this.drawSwitch(cell, rule),
        text: (rule) => (rule.enabled === false ? "off" : "on"),
      },
      {
        id: "name",
        title: "Rule",
        width: "minmax(104px, 1.2fr)",
        text: (rule) => rule.name || rule.id,
        tone: () => "symbol",
        hint: (rule) => rule.description || rule.name || "",
        sort: (rule) => (rule.name || rule.id).toLowerCase(),
      },
      {
        id: "when",
        title: "When",
        width: "minmax(96px, 1.8fr)",
        text: textOf,
        hint: (rule) => rule.fault || textOf(rule),
        tone: (rule) => (rule.fault ? "bad" : ""),
      },
      {
        id: "count",
        title: "Heard",
        width: "46px",
        align: "right",
        text: (rule) => String(this.counts.get(rule.id) || ""),
        hint: () => "Alerts of this rule on the tape",
        sort: (rule) => this.counts.get(rule.id) || 0,
      },
    ].concat(
      this.rules.some((rule) => rule.shared)
        ? [{ id: "who", title: "Whose", width: "60px", text: (rule) => ownerOf(rule), tone: () => "faint" }]
        : [],
    );
  }

  drawSwitch(cell, rule) {
    const stamp = `${rule.id} ${rule.enabled}`;
    if (cell.drawn === stamp) return;
    cell.drawn = stamp;
    cell.replaceChildren(
      element("input", {
        type: "checkbox",
        checked: rule.enabled !== false,
        disabled: !isMine(rule),
        "aria-label": `${rule.name} is on`,
        on: { click: (event) => event.stopPropagation(), change: (event) => this.toggle(rule, event.target.checked) },
      }),
    );
  }

  count({ alert }) {
    if (!alert || alert.kind !== "fired") return;
    this.counts.set(alert.rule_id, (this.counts.get(alert.rule_id) || 0) + 1);
    this.grid.request();
  }

  async load() {
    try {
      const told = await ask("GET", "/rules?limit=1000").catch((error) => {
        if (error.status !== 400) throw error;
        return ask("GET", "/rules");
      });
      this.rules = told.rules;
      put(this.note, `${this.rules.filter((rule) => rule.enabled !== false).length} on, ${this.rules.length} in all`);
      this.grid.setColumns(this.columns());
      this.show();
    } catch (error) {
      this.empty.hidden = false;
      put(this.empty, `Rules cannot be read: ${error.message}`);
    }
  }

  show() {
    const wanted = this.box.value.trim().toLowerCase();
    const shown = this.rules.filter(
      (rule) => !wanted || `${rule.name} ${rule.id} ${textOf(rule)}`.toLowerCase().includes(wanted),
    );
    this.empty.hidden = shown.length > 0;
    put(
      this.empty,
      this.rules.length ? "No rule fits the filter." : "No rule yet. A rule says when a symbol deserves an alert.",
    );
    this.grid.setRows(shown);
  }

  async toggle(rule, isOn) {
    await dialog.attempt(async () => {
      const { fault: _, ...whole } = rule;
      await ask("PUT", `/rules/${rule.id}`, { ...whole, enabled: isOn }, { headers: matchOf(rule) });
    });
    await this.load();
  }

  pick(rule, event) {
    this.grid.select(rule.id);
    if (!event.target.closest("input")) this.edit(rule);
  }

  /** Open a rule by its id. */
  async open(id) {
    await this.load();
    const rule = this.rules.find((one) => one.id === id);
    if (rule) this.edit(rule);
    else dialog.note(`There is no rule ${id} any more`, "bad");
  }

  edit(rule) {
    const form = new RuleForm(rule, {
      isMine: !rule || isMine(rule),
      done: async (said) => {
        opened.close();
        dialog.note(said, "good");
        await this.load();
      },
      remove: rule && isMine(rule) ? () => this.remove(rule, () => opened.close()) : null,
      versions: rule ? () => this.versions(rule, form) : null,
    });
    const opened = dialog.open(rule ? rule.name || rule.id : "New rule", form.element, { wide: true });
    form.focus();
  }

  async remove(rule, close) {
    if (
      !(await dialog.confirm("Delete this rule?", `${rule.name} fires no more. Its alerts stay in history.`, "Delete"))
    )
      return;
    if (await dialog.attempt(() => ask("DELETE", `/rules/${rule.id}`), `${rule.name} is deleted`)) close();
    await this.load();
  }

  /** Older versions of a rule, to be looked at and taken back into the editor. */
  async versions(rule, form) {
    let told;
    try {
      told = await ask("GET", `/rules/${rule.id}/versions`);
    } catch (error) {
      dialog.note(error.isAway ? "This server keeps no versions of rules" : error.message, "bad");
      return;
    }
    const all = told.versions || [];
    const opened = dialog.open(
      `Versions of ${rule.name}`,
      all.length
        ? all.map((one) => {
            const body = one.rule || one.body || one;
            const at = msOf(one.changed_at || body.updated_at);
            return element(
              "div",
              { class: "settings-line" },
              element(
                "div",
                {},
                element("b", {}, `Version ${one.version ?? "?"}`),
                element(
                  "span",
                  { class: "faint" },
                  Number.isFinite(at)
                    ? `  ${dayOf(at)} ${minuteOf(at)}${one.changed_by ? ` by ${one.changed_by}` : ""}  `
                    : "  ",
                ),
                element("code", {}, textOf(body)),
              ),
              button("Take this one", () => {
                form.take(body);
                opened.close();
              }),
            );
          })
        : element("p", { class: "faint" }, "There is no earlier version."),
      { wide: true },
    );
  }

  focus() {
    return this.grid.focus();
  }
  csv() {
    return [
      ["id", "name", "enabled", "when", "cooldown_s"],
      ...this.rules.map((rule) => [rule.id, rule.name, rule.enabled !== false, textOf(rule), rule.cooldown]),
    ];
  }
  menu() {
    return [{ text: "Read again", act: () => this.load() }];
  }
}

const ownerOf = (rule) => (rule.shared ? (isMine(rule) ? "shared" : rule.user_id || "shared") : "");
const isMine = (rule) => !rule.user_id || rule.user_id === user().user_id || isAdmin();
export const make = (context) => new Rules(context);
