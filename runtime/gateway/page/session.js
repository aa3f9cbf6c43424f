// Who is signed in: the access token, in memory alone, and every REST request made with it.

import { Signal } from "./signal.js";

const API = "/api/v1";
const REFRESH_BEFORE_S = 60;

export class Problem extends Error {
  /** What a request was answered instead of what it asked for. */
  constructor(status, detail, body) {
    super(detail);
    this.status = status;
    this.body = body;
  }

  /** Whether this server has no such thing, or not now. */
  get isAway() {
    return this.status === 404 || this.status === 503 || this.status === 501 || this.status === 0;
  }

  /** Whether this server has no such route, rather than no such thing. */
  get isUnknown() {
    return this.status === 404 && /URL was not found|^not found$/i.test(this.message);
  }
}

const state = {
  token: "",
  user: null,
  methods: { mode: "local", password: false, oidc: null, setup: false },
  refreshing: null,
  timer: 0,
};

/** Told after signing in and out: whether somebody is. */
export const changed = new Signal();

export const token = () => state.token;
export const user = () => state.user || { user_id: "default", name: "Local user", roles: ["trader", "admin"] };
export const isAdmin = () => (user().roles || []).includes("admin");
export const methods = () => state.methods;
/** Whether the page may work without anybody having signed in. */
export const isOpen = () => state.methods.mode === "local";

/** The JSON of a request; a Problem where it is refused. `options`: headers, raw (the answer itself), signal. */
export async function ask(method, path, body, options = {}) {
  let answer = await send(method, path, body, options);
  if (answer.status === 401 && state.token && (await refresh())) answer = await send(method, path, body, options);
  if (answer.status === 401 && state.token && !isOpen()) forget();
  if (options.raw && answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok)
    throw new Problem(
      answer.status,
      told.detail || told.error || answer.statusText || `answered ${answer.status}`,
      told,
    );
  return options.withHeaders ? { body: told, headers: answer.headers } : told;
}

async function send(method, path, body, options) {
  const headers = { ...(options.headers || {}) };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(API + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: options.signal,
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(
      0,
      error.name === "TimeoutError" ? "the server does not answer" : "the server cannot be reached",
      {},
    );
  }
}

/** What this server lets one sign in with, then the session that the cookie still knows. True = go on. */
export async function begin() {
  try {
    state.methods = { ...state.methods, ...(await ask("GET", "/auth/methods")) };
  } catch (error) {
    if (!error.isAway && error.status !== 401) throw error;
    if (error.status === 401) state.methods = { mode: "production", password: true, oidc: null, setup: false };
    else return true;
  }
  if (state.methods.setup && !isOpen()) return false;
  return ((state.methods.password || state.methods.oidc) && (await refresh())) || isOpen();
}

/** A new access token by the cookie that only the server reads; one request however many ask. */
export function refresh() {
  state.refreshing ??= (async () => {
    try {
      const answer = await send("POST", "/auth/refresh", {}, {});
      if (!answer.ok) return false;
      accept(await answer.json());
      return true;
    } catch {
      return Boolean(state.token); // the network is away, not the session
    } finally {
      state.refreshing = null;
    }
  })();
  return state.refreshing;
}

export async function signIn(userId, password) {
  accept(await ask("POST", "/auth/login", { user_id: userId, password, cookie: true }));
  changed.tell(true);
}

/** The first administrator, with the code that the server's log shows. */
export async function setUp(fields) {
  const told = await ask("POST", "/auth/setup", { ...fields, cookie: true });
  state.methods.setup = false;
  if (told.access_token) {
    accept(told);
    changed.tell(true);
  } else await signIn(fields.user_id, fields.password);
}

export async function signOut() {
  await ask("POST", "/auth/logout", {}).catch(() => {});
  forget();
}

/** Another password; every other sign-in of the user ends. */
export async function changePassword(now, wanted) {
  accept(await ask("POST", "/auth/password", { password: now, new_password: wanted, cookie: true }));
}

function forget() {
  clearTimeout(state.timer);
  state.token = "";
  state.user = null;
  changed.tell(false);
}

function accept(told) {
  state.token = told.access_token || "";
  state.user = told.user || state.user;
  clearTimeout(state.timer);
  const wait = Math.max(15, (told.expires_in || 900) - REFRESH_BEFORE_S);
  state.timer = setTimeout(refresh, Math.min(wait, 86_400) * 1000);
}
