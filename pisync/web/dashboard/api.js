// Calls of the API, as this page makes them and as curl would.
import { expire, session } from "./session.js";

export const DEFAULT_FLEET = "default";

/** A call that was refused, or failed: status 0 if no answer came. `fields`: what is wrong, by field. */
export class ApiError extends Error {
  constructor(status, message, fields = {}, retryAfter = 0) {
    super(message);
    this.status = status;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

/** Make a call; return `{data, headers}`. Throws ApiError; an answer of 401 ends the session. */
export async function call({ method = "GET", path, body, fleet, signal }) {
  let response;
  try {
    response = await fetch(path, {
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

export function headers(fleet, body) {
  const token = session.get()?.token;
  return {
    ...(token && { Authorization: `Bearer ${token}` }),
    ...(body !== undefined && { "Content-Type": "application/json" }),
    ...(fleet && fleet !== DEFAULT_FLEET && { "Pisync-Fleet": fleet }),
  };
}

/** Return what an answer that is no success says; end the session if that is what it takes. */
export async function problem(response) {
  if (response.status === 401 && session.get()) expire();
  const said = await response.json().catch(() => ({}));
  return new ApiError(
    response.status,
    said.message ?? `The server answered ${response.status}.`,
    said.errors,
    Number(response.headers.get("Retry-After")) || 0,
  );
}

/** Return the same call as a command for a shell that has a token in $TOKEN. */
export function curl({ method = "GET", path, body, fleet }) {
  const parts = [
    `curl ${method === "GET" ? "" : `-X ${method} `}${quoted(location.origin + path)}`,
    '-H "Authorization: Bearer $TOKEN"',
  ];
  if (fleet && fleet !== DEFAULT_FLEET) parts.push(`-H ${quoted(`Pisync-Fleet: ${fleet}`)}`);
  if (body !== undefined) {
    parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  }
  return parts.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** Return a path with a query of those values that are not empty. */
export function withQuery(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString().replaceAll("%2C", ",");
  return query ? `${path}?${query}` : path;
}
