// Who is logged in: a token, in memory and in this tab's session storage, until it expires.
import { createStore } from "./store.js";

const KEY = "pisync.session";
const LONGEST_TIMER = 2 ** 31 - 1;

/** `{token, name, scopes, expiresAt}`, the last in milliseconds of this machine's clock; or null. */
export const session = createStore(restored());
/** Why the last session ended, if not by a log-out. */
export const farewell = createStore("");

let alarm;
watchExpiry(session.get());

/** Begin a session. Throws if this is no token, or one that has expired. `isNew`: made just now. */
export function begin(token, { isNew = false } = {}) {
  const next = read(token, isNew);
  if (next.expiresAt <= Date.now()) throw new Error("This token has expired.");
  sessionStorage.setItem(KEY, JSON.stringify(next));
  farewell.set("");
  session.set(next);
  watchExpiry(next);
}

/** End the session; say why, unless its user asked for it. */
export function end(why = "") {
  clearTimeout(alarm);
  sessionStorage.removeItem(KEY);
  farewell.set(why);
  session.set(null);
}

export function expire() {
  if (session.get()) end("Your session has expired. Log in again.");
}

export const mayAdminister = (of) => Boolean(of?.scopes.includes("admin"));

// For display alone: what a token is worth, the server says.
function read(token, isNew) {
  let claims;
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.codePointAt(0));
    claims = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error("This is not a token.");
  }
  if (typeof claims?.exp !== "number") throw new Error("This is not a token.");
  const { sub, scopes, exp, iat } = claims;
  return {
    token,
    name: String(sub),
    scopes: Array.isArray(scopes) ? scopes : [],
    // However wrong this machine's clock is, a new token lives as long as it was given.
    expiresAt: isNew ? Date.now() + (exp - iat) * 1000 : exp * 1000,
  };
}

function restored() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(KEY));
    return saved && saved.expiresAt > Date.now() ? saved : null;
  } catch {
    return null;
  }
}

function watchExpiry(of) {
  clearTimeout(alarm);
  if (of) alarm = setTimeout(expire, Math.min(of.expiresAt - Date.now(), LONGEST_TIMER));
}
