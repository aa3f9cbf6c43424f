// Draws the OpenAPI document: groups, operations, parameters, bodies, answers. No library, no inline script.

const byId = (id) => document.getElementById(id);

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value !== undefined) made.setAttribute(name, value);
  made.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return made;
}

let told;

/** What a schema stands for, references followed. */
function resolved(schema) {
  const path = schema && schema.$ref;
  return path ? path.slice(2).split("/").reduce((found, name) => found[name], told) : schema || {};
}

/** A schema in a few words. */
function words(schema) {
  const name = schema && schema.$ref ? schema.$ref.split("/").pop() : "";
  const one = resolved(schema);
  if (name) return name;
  if (one.anyOf) return one.anyOf.map(words).join(" or ");
  if (one.type === "array") return `list of ${words(one.items)}`;
  if (one.enum) return one.enum.map((value) => JSON.stringify(value)).join(", ");
  const limits = [one.minimum !== undefined ? `from ${one.minimum}` : "", one.maximum !== undefined ? `to ${one.maximum}` : "", one.format || ""].filter(Boolean);
  return [one.type || "anything", ...limits].join(" ");
}

function table(rows) {
  return make("table", {}, make("tbody", {}, rows.map((cells) => make("tr", {}, cells.map((cell, k) => make(k ? "td" : "th", k ? {} : { scope: "row" }, cell))))));
}

/** The fields of an object, and an example where it has one. */
function shape(schema) {
  const one = resolved(schema);
  const fields = Object.entries(one.properties || {});
  const needed = new Set(one.required || []);
  const example = one.example !== undefined ? one.example : (one.examples || [])[0];
  return [
    make("p", {}, make("b", {}, words(schema)), one.description ? ` ${one.description}` : ""),
    fields.length ? table(fields.map(([name, field]) => [make("code", {}, name), words(field) + (needed.has(name) ? ", needed" : ""), make("span", { class: "faint" }, resolved(field).description || "")])) : null,
    example !== undefined ? make("pre", {}, JSON.stringify(example, null, 2)) : null,
  ];
}

function bodies(content) {
  return Object.entries(content || {}).map(([type, media]) => [make("p", { class: "faint" }, type), ...shape(media.schema)]).flat();
}

function operation(path, method, one) {
  const answers = Object.entries(one.responses || {});
  const good = answers.filter(([status]) => /^[23]/.test(status));
  const bad = answers.filter(([status]) => !/^[23]/.test(status));
  return make("details", { id: one.operationId, "data-words": `${path} ${method} ${one.summary || ""} ${one.operationId}`.toLowerCase() },
    make("summary", {}, make("span", { class: `method ${method}` }, method), make("code", {}, path), make("span", {}, one.summary || "")),
    make("div", { class: "body" },
      one.description ? make("p", {}, one.description) : null,
      (one.parameters || []).length ? [make("h3", {}, "Parameters"), table(one.parameters.map((parameter) => [make("code", {}, parameter.name), `${parameter.in}, ${words(parameter.schema)}${parameter.required ? ", needed" : ""}`, parameter.description || resolved(parameter.schema).description || ""]))] : null,
      one.requestBody ? [make("h3", {}, "Body"), ...bodies(one.requestBody.content)] : null,
      make("h3", {}, "Answers"),
      good.map(([status, answer]) => [make("p", {}, make("b", {}, status), ` ${answer.description || ""}`), ...bodies(answer.content)]).flat(),
      table(bad.map(([status, answer]) => [status, answer.description || ""]))));
}

function draw() {
  byId("title").textContent = `${told.info.title} ${told.info.version}`;
  byId("about").textContent = told.info.description || "";
  const groups = new Map((told.tags || []).map((tag) => [tag.name, { text: tag.description, found: [] }]));
  for (const [path, methods] of Object.entries(told.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      const name = (one.tags || ["other"])[0];
      if (!groups.has(name)) groups.set(name, { text: "", found: [] });
      groups.get(name).found.push(operation(path, method, one));
    }
  }
  const drawn = [...groups].filter(([, group]) => group.found.length);
  byId("tags").replaceChildren(...drawn.map(([name]) => make("a", { href: `#tag-${name}` }, name)));
  byId("operations").replaceChildren(...drawn.map(([name, group]) => make("section", {}, make("h2", { id: `tag-${name}` }, name), make("p", { class: "faint" }, group.text || ""), group.found)));
  const wanted = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (wanted) { wanted.open = true; wanted.scrollIntoView(); }
}

function find() {
  const text = byId("find").value.trim().toLowerCase();
  for (const one of document.querySelectorAll("details")) one.hidden = !one.dataset.words.includes(text);
}

async function begin() {
  try {
    const answer = await fetch("/docs/openapi.json");
    if (!answer.ok) throw new Error(`the document is answered with ${answer.status}`);
    told = await answer.json();
    draw();
    byId("find").addEventListener("input", find);
  } catch (error) {
    byId("operations").textContent = `The document cannot be shown: ${error.message}`;
  }
}

begin();
