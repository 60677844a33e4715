// Calls of the API, as this page makes them and as curl would.
/** @import { FieldErrors, Request } from "./types.js" */
import { expire, session } from "./session.js";

export const DEFAULT_FLEET = "default";

// Calls are found from where this file is: a proxy may serve all of PiSync under a path of its own.
const ROOT = new URL("..", import.meta.url).href.replace(/\/$/, "");

/** The fleet at whose base URL this page is, if it is at one: its calls stay below it. */
export const BASE_FLEET = /^\/fleets\/([a-z0-9-]+)\/(?:[?#]|$)/.exec(
  location.href.slice(ROOT.length),
)?.[1];

/** A call that was refused, or that failed: status 0 if no answer came. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {FieldErrors} fields What is wrong, by field.
   * @param {number} retryAfter In seconds.
   */
  constructor(status, message, fields = {}, retryAfter = 0) {
    super(message);
    this.status = status;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

/**
 * Return the URL of a path that does not depend on the fleet.
 * @param {string} path
 */
export const urlOf = (path) => ROOT + path;

/**
 * Return the URL of a call: below the page's base URL, if the call can be made there.
 * @param {string} path
 */
export const callUrl = (path) =>
  urlOf(BASE_FLEET && !path.startsWith("/admin/") ? `/fleets/${BASE_FLEET}${path}` : path);

/**
 * Return a path, with its values encoded, so that none of them adds a segment or a query.
 * @param {TemplateStringsArray} strings
 * @param {(string | number)[]} values
 */
export const pathOf = (strings, ...values) =>
  String.raw({ raw: strings }, ...values.map(encodeURIComponent));

/**
 * Make a call.
 * @param {Request & { signal?: AbortSignal }} request
 * @returns {Promise<{ data: any, headers: Headers }>}
 * @throws {ApiError} The call was refused or failed. A 401 also ends the session.
 */
export async function call({ method = "GET", path, body, fleet, signal }) {
  let response;
  try {
    response = await fetch(callUrl(path), {
      method,
      headers: headers(fleet, body),
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal,
    });
  } catch (failure) {
    if (signal?.aborted) throw failure;
    throw new ApiError(0, "The server can't be reached.");
  }
  if (!response.ok) throw await problem(response);
  const data = response.status === 204 ? null : await response.json();
  return { data, headers: response.headers };
}

/**
 * @param {string} [fleet]
 * @param {unknown} [body]
 * @returns {Record<string, string>}
 */
export function headers(fleet, body) {
  const token = session.get()?.token;
  return {
    ...(token && { Authorization: `Bearer ${token}` }),
    ...(body !== undefined && { "Content-Type": "application/json" }),
    ...(isNamedByHeader(fleet) && { "Pisync-Fleet": fleet }),
  };
}

/**
 * Whether a request says which fleet it acts on by its header, and not by its URL or by saying nothing.
 * @param {string | undefined} fleet
 * @returns {fleet is string}
 */
function isNamedByHeader(fleet) {
  if (!fleet || BASE_FLEET) return false;
  return fleet !== (session.get()?.fleet ?? DEFAULT_FLEET);
}

/**
 * Return the error that an answer stands for; end the session if it is a 401.
 * @param {Response} response
 */
export async function problem(response) {
  if (response.status === 401 && session.get()) expire();
  const { message, errors } = await response.json().catch(() => ({}));
  return new ApiError(
    response.status,
    message ?? `The server answered ${response.status}.`,
    errors,
    Number(response.headers.get("Retry-After")) || 0,
  );
}

/**
 * Return the same call as a command for a shell that has a token in $TOKEN.
 * @param {Request} request
 */
export function curl({ method = "GET", path, body, fleet }) {
  const parts = [
    `curl ${method === "GET" ? "" : `-X ${method} `}${quoted(callUrl(path))}`,
    '-H "Authorization: Bearer $TOKEN"',
  ];
  if (isNamedByHeader(fleet)) parts.push(`-H ${quoted(`Pisync-Fleet: ${fleet}`)}`);
  if (body !== undefined) {
    parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  }
  return parts.join(" \\\n  ");
}

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/**
 * Return a path with a query of the values that are not empty.
 * @param {string} path
 * @param {Record<string, string | number | undefined>} values
 */
export function withQuery(path, values) {
  const entries = Object.entries(values)
    .filter(([, value]) => value !== undefined && value !== "")
    .map(([name, value]) => [name, String(value)]);
  const query = new URLSearchParams(entries).toString().replaceAll("%2C", ",");
  return query ? `${path}?${query}` : path;
}
