// The sign-in form, the button of the identity provider, and the first-run set-up.

import { make, byId, button, field } from "./dom.js";
import * as session from "./session.js";

/** Show the form until somebody is signed in. */
export function ask() {
  return new Promise((resolve) => {
    const place = byId("sign-in");
    const done = () => {
      place.hidden = true;
      place.replaceChildren();
      resolve();
    };
    const card = session.methods().setup ? setUp(done) : signIn(done);
    place.replaceChildren(card);
    place.hidden = false;
    card.querySelector("input")?.focus();
  });
}

const heading = (text) =>
  make("h2", {}, make("img", { src: byId("top").querySelector("img").src, alt: "", width: 26, height: 26 }), text);

/** A form that does one thing and says what went wrong. */
function card(title, intro, fields, verb, act, done) {
  const fault = make("p", { class: "bad", role: "alert" });
  const submit = make("button", { type: "submit", class: "primary" }, verb);
  const form = make(
    "form",
    {
      class: "sign-card",
      "aria-label": title,
      on: {
        submit: async (event) => {
          event.preventDefault();
          fault.textContent = "";
          submit.disabled = true;
          try {
            await act(Object.fromEntries(new FormData(form)));
            done();
          } catch (error) {
            fault.textContent = error.message;
          } finally {
            submit.disabled = false;
          }
        },
      },
    },
    heading(title),
    intro ? make("p", { class: "faint" }, intro) : null,
    fields,
    fault,
    submit,
  );
  return form;
}

const input = (name, title, more = {}, hint = "") =>
  field(title, make("input", { name, required: true, ...more }), hint);

function signIn(done) {
  const { password, oidc } = session.methods();
  const fields = [
    input("user_id", "User", { autocomplete: "username", autocapitalize: "none", spellcheck: false }),
    input("password", "Password", { type: "password", autocomplete: "current-password" }),
  ];
  const form = card(
    "Jetscan",
    "",
    password === false ? [] : fields,
    "Sign in",
    ({ user_id: user, password: secret }) => session.signIn(user, secret),
    done,
  );
  if (password === false) form.querySelector('button[type="submit"]').remove();
  if (oidc) {
    if (password !== false) form.append(make("p", { class: "or" }, "or"));
    form.append(
      button(`Sign in with ${oidc.name || "your organisation"}`, () => location.assign("/api/v1/auth/oidc/login")),
    );
  }
  return form;
}

function setUp(done) {
  return card(
    "Set up Jetscan",
    "The first user is the administrator. The one-time code is in a file of the gateway's machine; its log says where.",
    [
      input("code", "One-time code", { autocomplete: "one-time-code", spellcheck: false }),
      input("user_id", "User", {
        autocomplete: "username",
        autocapitalize: "none",
        spellcheck: false,
        pattern: "[A-Za-z0-9_\\-]{1,64}",
        title: "1 to 64 letters, digits, - and _",
      }),
      input(
        "password",
        "Password",
        { type: "password", autocomplete: "new-password", minlength: 12 },
        "12 characters or more",
      ),
    ],
    "Set up",
    session.setUp,
    done,
  );
}
