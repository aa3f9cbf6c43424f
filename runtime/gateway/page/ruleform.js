// The editor of one rule: its text, what it says in English, what is wrong, what it would have said yesterday.

import { make, button, field, put, choice } from "./dom.js";
import { Editor } from "./editor.js";
import { ask } from "./session.js";
import { textOf, matchOf, secondsOf, withoutCooldown } from "./ruletext.js";
import { timeMsOf, dayOf, msOf, price } from "./format.js";
import { outcomesOf } from "./outcomes.js";
import * as metrics from "./metrics.js";
import * as preferences from "./preferences.js";
import * as sounds from "./sounds.js";

const WAIT_MS = 250;

export class RuleForm {
  /** `acts`: isMine, done(said), remove or null, versions or null. */
  constructor(rule, acts) {
    this.rule = rule;
    this.acts = acts;
    this.flipped = null;
    this.isValid = null;
    this.editor = new Editor({
      label: "Condition",
      onchange: () => this.later(),
      lists: () => this.lists || [],
      onsubmit: () => this.save(),
    });
    this.build();
    this.editor.set(rule ? withoutCooldown(textOf(rule)) : "");
    metrics.loaded().then(() => this.editor.mark(this.editor.faults));
    ask("GET", "/toplists")
      .then((told) => {
        this.lists = [...(told.user_toplists || []), ...(told.system_toplists || [])];
      })
      .catch(() => {});
    if (rule) this.check();
  }

  build() {
    const rule = this.rule || {};
    const { isMine } = this.acts;
    this.name = make("input", { value: rule.name || "", maxlength: 100, required: true, placeholder: "Fast riser" });
    this.description = make("input", { value: rule.description || "", maxlength: 500 });
    this.cooldown = make("input", {
      type: "number",
      min: 0,
      max: 604_800,
      value: rule.cooldown === undefined ? 60 : secondsOf(rule.cooldown),
      on: { input: () => this.later() },
    });
    this.enabled = make("input", { type: "checkbox", checked: rule.enabled !== false });
    this.shared = make("input", { type: "checkbox", checked: rule.shared === true });
    this.reading = make("p", { class: "reading idle", role: "status" }, "What the rule says in English stands here.");
    this.flipButton = button("Mirror image", () => this.flip(), {
      disabled: true,
      title: "The same rule for the other direction",
    });
    this.previewPlace = make("div", { class: "preview", hidden: true, role: "status" });
    this.fault = make("p", { class: "bad", role: "alert" });
    this.saveButton = make(
      "button",
      { type: "submit", class: "primary" },
      !this.rule ? "Create rule" : isMine ? "Save" : "Save a copy",
    );
    const days = choice(
      [
        ["1", "the last day"],
        ["5", "5 days"],
        ["20", "20 days"],
      ],
      "1",
      null,
      { "aria-label": "How much history" },
    );
    this.element = make(
      "form",
      {
        class: "rule-form",
        on: {
          submit: (event) => {
            event.preventDefault();
            this.save();
          },
        },
      },
      make("div", { class: "fields" }, field("Name", this.name), field("Description", this.description)),
      make("div", {}, make("span", { class: "field-title" }, "When"), this.editor.element),
      this.reading,
      make(
        "div",
        { class: "actions" },
        make("span", { class: "push" }, this.flipButton),
        button("Preview on", () => this.preview(Number(days.value))),
        days,
      ),
      this.previewPlace,
      this.rule ? outcomesOf(this.rule.id) : null,
      make(
        "div",
        { class: "fields" },
        field("Silent after an alert, s", this.cooldown),
        field("Sound", this.toneChoice()),
        field("Screen reader", this.voiceChoice()),
      ),
      make(
        "div",
        { class: "chips" },
        make("label", { class: "check" }, this.enabled, "On"),
        make("label", { class: "check" }, this.shared, "Shared with everybody"),
      ),
      this.fault,
      make(
        "div",
        { class: "actions" },
        make(
          "span",
          { class: "push actions" },
          this.acts.remove ? button("Delete", this.acts.remove, { class: "danger" }) : null,
          this.acts.versions ? button("Versions", this.acts.versions) : null,
        ),
        isMine ? null : make("span", { class: "faint" }, "This rule belongs to somebody else."),
        this.saveButton,
      ),
    );
  }

  toneChoice() {
    const id = this.rule?.id;
    return choice(Object.keys(sounds.TONES), preferences.get("sound").rules[id] || "chime", (tone) => {
      this.tone = tone;
      sounds.play(tone);
    });
  }

  voiceChoice() {
    const isNow = preferences.get("assertive").includes(this.rule?.id);
    return choice(
      [
        ["summary", "In the summary"],
        ["now", "At once"],
      ],
      isNow ? "now" : "summary",
      (how) => {
        this.voice = how;
      },
    );
  }

  focus() {
    (this.rule ? this.editor.field : this.name).focus();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), WAIT_MS);
  }

  // -- reading and errors

  async check() {
    const text = this.editor.text.trim();
    if (!text) return this.read("idle", "What the rule says in English stands here.");
    const asked = (this.asked = {});
    let told;
    try {
      told = await ask("POST", "/rules/validate", {
        rule: this.isUnchangedTree() ? this.rule : { when: this.editor.text, cooldown: this.seconds },
      });
    } catch (error) {
      if (this.asked === asked)
        this.read("idle", error.isUnknown ? "This server reads rules when they are saved." : error.message);
      return undefined;
    }
    if (this.asked !== asked) return undefined;
    this.isValid = told.valid;
    this.flipped = told.flipped?.text ? told.flipped : null;
    this.flipButton.disabled = !this.flipped;
    this.flipButton.title = this.flipped?.english || told.no_flip || "The same rule for the other direction";
    this.editor.mark(told.valid ? [] : told.errors || []);
    if (told.valid) {
      if (this.isUnchangedTree() && told.text) this.show(withoutCooldown(told.text));
      return this.read("", told.english || "The rule compiles.");
    }
    return this.complain(told.errors || []);
  }

  /** A rule that was given as a tree and has no text of its own yet. */
  isUnchangedTree() {
    return (
      Boolean(this.rule) &&
      typeof this.rule.when !== "string" &&
      this.editor.text === (this.shownTree ?? withoutCooldown(textOf(this.rule)))
    );
  }

  /** The text of a rule that was given as a tree. */
  show(text) {
    this.shownTree = text;
    if (text !== this.editor.text) this.editor.set(text);
  }

  get seconds() {
    return Math.max(0, Number(this.cooldown.value) || 0);
  }

  read(kind, ...content) {
    this.reading.className = `reading ${kind}`;
    this.reading.replaceChildren(...content);
  }

  complain(errors) {
    const [first] = errors;
    if (!first) return this.read("fault", "The rule does not compile.");
    const place = Number.isInteger(first.position) ? `At ${this.placeOf(first.position)}: ` : "";
    const suggestion = first.suggestion
      ? button(`Use ${first.suggestion}`, () =>
          this.editor.replace(first.position, first.position + (first.length || 0), first.suggestion),
        )
      : null;
    this.read(
      "fault",
      `${place}${withoutPlace(first.message)}`,
      suggestion || "",
      errors.length > 1 ? make("span", { class: "faint" }, ` and ${errors.length - 1} more`) : "",
    );
  }

  placeOf(position) {
    const lines = this.editor.text.slice(0, position).split("\n");
    return `line ${lines.length}, column ${lines[lines.length - 1].length + 1}`;
  }

  flip() {
    if (!this.flipped) return;
    this.editor.set(withoutCooldown(this.flipped.text));
    if (this.name.value && !/\(mirrored\)$/.test(this.name.value) && !this.rule)
      this.name.value = `${this.name.value} (mirrored)`;
    this.check();
  }

  /** Take another version's content. */
  take(rule) {
    this.editor.set(withoutCooldown(textOf(rule)));
    this.name.value = rule.name || this.name.value;
    if (rule.cooldown !== undefined) this.cooldown.value = secondsOf(rule.cooldown);
    this.check();
  }

  // -- history

  async preview(days) {
    const place = this.previewPlace;
    place.hidden = false;
    place.replaceChildren("Looking through history…");
    try {
      const told = await ask("POST", "/rules/preview", { rule: this.editor.text, days });
      const span = days === 1 ? "In the last day" : `In ${days} days`;
      place.replaceChildren(
        make(
          "p",
          {},
          `${span} this would have fired `,
          make(
            "strong",
            {},
            `${told.count} ${told.count === 1 ? "time" : "times"} on ${told.symbols} ${told.symbols === 1 ? "symbol" : "symbols"}`,
          ),
          told.from ? make("span", { class: "faint" }, ` (${dayOf(msOf(told.from))} to ${dayOf(msOf(told.to))})`) : "",
        ),
        (told.examples || []).length
          ? make(
              "table",
              { class: "plain" },
              make(
                "tbody",
                {},
                told.examples
                  .slice(0, 8)
                  .map((one) =>
                    make(
                      "tr",
                      {},
                      make("td", {}, make("b", {}, one.symbol)),
                      make("td", {}, `${dayOf(msOf(one.timestamp))} ${timeMsOf(msOf(one.timestamp))}`),
                      make("td", { class: "number" }, price(one.price)),
                    ),
                  ),
              ),
            )
          : "",
      );
    } catch (error) {
      place.replaceChildren(error.isUnknown ? "This server previews no rules." : error.message);
    }
  }

  // -- saving

  body() {
    const { conditions: _, fault: __, text: ___, ...kept } = this.rule || {};
    const content = this.isUnchangedTree() ? this.rule : { ...kept, when: this.editor.text.trim() };
    const whole = {
      ...content,
      name: this.name.value.trim(),
      description: this.description.value.trim(),
      enabled: this.enabled.checked,
      shared: this.shared.checked,
    };
    whole.cooldown = this.seconds; // what the text says at its end goes before it
    if (!this.acts.isMine) for (const name of ["id", "user_id", "version", "shared", "created_at"]) delete whole[name];
    if (!whole.shared && this.rule?.shared === undefined) delete whole.shared;
    return whole;
  }

  async save() {
    put(this.fault, "");
    if (!this.element.reportValidity()) return;
    if (!this.editor.text.trim()) return put(this.fault, "When: expected a condition, found nothing");
    this.saveButton.disabled = true;
    try {
      const body = this.body();
      const saved =
        this.rule && this.acts.isMine
          ? await ask("PUT", `/rules/${this.rule.id}`, body, { headers: matchOf(this.rule) })
          : await ask("POST", "/rules", body);
      this.keepSound(saved.id);
      await this.acts.done(`${saved.name} is ${saved.enabled === false ? "saved, and off" : "on"}`);
    } catch (error) {
      put(
        this.fault,
        error.status === 412
          ? "Somebody else changed this rule meanwhile. Close it, read it again, and make your change once more."
          : error.message,
      );
    } finally {
      this.saveButton.disabled = false;
    }
    return undefined;
  }

  keepSound(id) {
    if (this.tone) sounds.set({ rules: { ...preferences.get("sound").rules, [id]: this.tone } });
    if (this.voice)
      preferences.set("assertive", [
        ...preferences.get("assertive").filter((one) => one !== id),
        ...(this.voice === "now" ? [id] : []),
      ]);
  }
}

const withoutPlace = (message) =>
  String(message || "")
    .replace(/^line \d+, column \d+: /, "")
    .split("\n")[0];
