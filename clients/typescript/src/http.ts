import { errorOf } from "./error.js";

export const DEFAULT_URL = "http://127.0.0.1:8080";

/** What a client is made of. */
export interface ClientOptions {
  /** The server's base URL, which may have a path. Default: `http://127.0.0.1:8080`; `""` in a page: its own origin. */
  url?: string;
  /** A token, or a function that returns one, asked before each request. `register` and `login` set it, too. */
  token?: string | (() => string | Promise<string>);
  /** The fleet that calls act on. Default: the server's own, `default`. */
  fleet?: string;
  /** Milliseconds until a call that has no answer fails. Default: 60,000. Event streams have none. */
  timeout?: number;
  /** What to call in place of the global `fetch`. */
  fetch?: typeof fetch;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call: it rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** The parts of a request that only some have. */
export interface RequestParts extends CallOptions {
  /** Parameters of the query; lists become commas, dates timestamps, and what is undefined is left out. */
  query?: { readonly [name: string]: unknown } | undefined;
  /** What to send as JSON. */
  body?: unknown;
  /** What to send as a document of lines (NDJSON), in place of `body`. */
  document?: Blob | string | undefined;
  /** Headers to send instead of the client's own. */
  headers?: { readonly [name: string]: string } | undefined;
}

/** Encode a query, without what is undefined; lists as commas, dates as timestamps. */
export function queryOf(values: { readonly [name: string]: unknown } = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || (Array.isArray(value) && !value.length)) continue;
    query.set(name, value instanceof Date ? value.toISOString() : String(value));
  }
  return query.size ? `?${query}` : "";
}

/** Send a request; throw a PisyncError for an error answer. */
export async function send(
  options: ClientOptions,
  method: string,
  path: string,
  { query, body, document, headers, signal }: RequestParts,
): Promise<Response> {
  const sent = document ?? (body === undefined ? undefined : JSON.stringify(body));
  const type = document === undefined ? "application/json" : "application/x-ndjson";
  const base = (options.url ?? DEFAULT_URL).replace(/\/+$/, "");
  const response = await (options.fetch ?? fetch)(base + path + queryOf(query), {
    method,
    headers: { ...headers, ...(sent !== undefined && { "Content-Type": type }) },
    // Neither may be undefined for every implementation of fetch.
    ...(sent !== undefined && { body: sent }),
    ...(signal && { signal }),
    cache: "no-store",
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** Wait; reject with the signal's reason if that ends it. */
export function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
