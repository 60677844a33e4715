// Who is logged in: a token, in memory and in this tab's session storage, until it expires.
/** @import { Session } from "./types.js" */
import { createStore } from "./store.js";

const KEY = "pisync.session";
const MAX_TIMER = 2 ** 31 - 1; // ms

export const session = createStore(restored());
/** Why the last session ended; empty if its user logged out. */
export const endReason = createStore("");

let alarm = 0;
watchExpiry(session.get());

/**
 * Begin a session.
 * @param {string} token
 * @param {{ isNew?: boolean }} options Whether the token was made just now.
 * @throws {Error} This is not a token, or it has expired.
 */
export function begin(token, { isNew = false } = {}) {
  const next = decoded(token, isNew);
  if (next.expiresAt <= Date.now()) throw new Error("This token has expired.");
  sessionStorage.setItem(KEY, JSON.stringify(next));
  endReason.set("");
  session.set(next);
  watchExpiry(next);
}

/** End the session; give the reason, unless its user asked for it. */
export function end(reason = "") {
  clearTimeout(alarm);
  sessionStorage.removeItem(KEY);
  endReason.set(reason);
  session.set(null);
}

export function expire() {
  if (session.get()) end("Your session has expired. Log in again.");
}

/** @param {Session | null} of */
export const isAdmin = (of) => Boolean(of?.scopes.includes("admin"));

/**
 * Return what a token says. This is for display alone: the server decides what a token may do.
 * @param {string} token
 * @param {boolean} isNew
 * @returns {Session}
 */
function decoded(token, isNew) {
  let claims;
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    claims = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error("This is not a token.");
  }
  if (typeof claims?.exp !== "number") throw new Error("This is not a token.");
  const { sub, scopes, exp, iat, fleet } = claims;
  return {
    token,
    name: String(sub),
    scopes: Array.isArray(scopes) ? scopes : [],
    ...(typeof fleet === "string" && { fleet }),
    // However wrong this machine's clock is, a new token has its whole life before it.
    expiresAt: isNew ? Date.now() + (exp - iat) * 1000 : exp * 1000,
  };
}

/** @returns {Session | null} */
function restored() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    return saved && saved.expiresAt > Date.now() ? saved : null;
  } catch {
    return null;
  }
}

/** @param {Session | null} of */
function watchExpiry(of) {
  clearTimeout(alarm);
  if (of) alarm = setTimeout(expire, Math.min(of.expiresAt - Date.now(), MAX_TIMER));
}
