// Elements made in one expression; text is only ever text, never markup.

const PROPERTIES = new Set([
  "value",
  "checked",
  "disabled",
  "selected",
  "hidden",
  "tabIndex",
  "draggable",
  "readOnly",
  "spellcheck",
]);

/** An element. `properties`: class, on: {event: handler}, data: {name: text}, properties of elements, else attributes; null leaves one out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "on")
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A button; `label` is what a screen reader says where the text is a sign. */
export function button(text, onclick, properties = {}) {
  return make("button", { type: "button", ...properties, on: { click: onclick, ...(properties.on || {}) } }, text);
}

/** A label with its field beneath. */
export function field(title, control, hint = "") {
  return make(
    "label",
    { class: "field" },
    make("span", { class: "field-title" }, title),
    control,
    hint ? make("span", { class: "hint" }, hint) : null,
  );
}

export function choice(options, value, onchange, properties = {}) {
  const select = make(
    "select",
    { ...properties, on: { change: (event) => onchange?.(event.target.value) } },
    options.map((one) => (Array.isArray(one) ? new Option(one[1], one[0]) : new Option(one, one))),
  );
  if (value !== undefined && value !== null) select.value = value;
  return select;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A file for the user. */
export function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Rows as CSV (RFC 4180); a text that a spreadsheet would take for a formula is kept a text. */
export function csvOf(rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe =
      typeof value === "string" && /^[=+\-@\t\r]/.test(text) && !/^[+-]?[\d.,]+[%KMB]?$/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

let made = 0;
/** An id for aria-labelledby and its kind. */
export const freshId = (name) => `${name}-${(made += 1)}`;

/** A drawing of lines in the colour of the text; `paths` in a box of 24. */
export function drawing(paths) {
  const space = "http://www.w3.org/2000/svg";
  const element = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({
    viewBox: "0 0 24 24",
    width: "16",
    height: "16",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "2",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
    "aria-hidden": "true",
  }))
    element.setAttribute(name, value);
  for (const path of paths) {
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", path);
    element.append(line);
  }
  return element;
}
