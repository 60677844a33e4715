// One event stream, kept open: read with fetch, resumed where it broke off, retried with back-off.
/** @import { Connection, FleetEvent } from "./types.js" */
import { callUrl, headers, problem } from "./api.js";
import { createParser } from "./eventsource-parser/parse.js";

const MAX_SILENCE = 45_000; // ms; a comment comes every 15 s, so the connection is dead
const MIN_WAIT = 400; // ms
const MAX_WAIT = 15_000; // ms
const STABLE = 5_000; // ms; a stream that was open for so long starts the back-off anew

/**
 * Open a fleet's stream.
 * @param {object} options
 * @param {string} options.fleet
 * @param {(events: FleetEvent[]) => void} options.onEvents
 * @param {(state: Connection) => void} options.onState "refused" is final.
 * @param {boolean} [options.suspended] Whether to wait for `resume` before it connects.
 */
export function openStream({ fleet, onEvents, onState, suspended = false }) {
  const closed = new AbortController();
  /** @type {string | undefined} */
  let lastId;
  let failures = 0;
  let disconnect = () => {};
  let wake = () => {};

  async function run() {
    while (!closed.signal.aborted) {
      onState({ phase: failures ? "retrying" : "connecting", until: 0 });
      if (suspended) await pause();
      const opened = performance.now();
      let wait = 0;
      try {
        wait = await connect();
      } catch {
        // A network error contains nothing that a reader could use.
      }
      if (closed.signal.aborted || wait === Infinity) return;
      if (suspended) {
        failures = 0;
        continue;
      }
      failures = performance.now() - opened > STABLE ? 1 : failures + 1;
      wait = Math.max(wait, backOff(failures));
      onState({ phase: "retrying", until: Date.now() + wait });
      await pause(wait);
    }
  }

  /** Read until the stream ends. Return for how many ms the server wants no other try. */
  async function connect() {
    const connection = new AbortController();
    disconnect = () => connection.abort();
    closed.signal.addEventListener("abort", disconnect);
    let silence = setTimeout(disconnect, MAX_SILENCE);
    try {
      const response = await fetch(callUrl("/events"), {
        headers: { ...headers(fleet), ...(lastId !== undefined && { "Last-Event-ID": lastId }) },
        cache: "no-store",
        signal: connection.signal,
      });
      if (!response.ok || !response.body) return await refused(response);
      onState({ phase: "live", resumed: lastId !== undefined });
      /** @type {FleetEvent[]} */
      let events = [];
      const parser = createParser({
        onEvent({ id, event, data }) {
          lastId = id ?? lastId;
          events.push({ name: /** @type {any} */ (event), data: JSON.parse(data) });
        },
      });
      const decoder = new TextDecoder();
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) return 0;
        clearTimeout(silence);
        silence = setTimeout(disconnect, MAX_SILENCE);
        parser.feed(decoder.decode(value, { stream: true }));
        if (events.length) onEvents(events);
        events = [];
      }
    } finally {
      clearTimeout(silence);
      closed.signal.removeEventListener("abort", disconnect);
    }
  }

  /** @param {Response} response */
  async function refused(response) {
    const { message, retryAfter } = await problem(response);
    if (response.status >= 500 || response.status === 429) return retryAfter * 1000;
    onState({ phase: "refused", reason: message, status: response.status });
    return Infinity;
  }

  /**
   * Return after so many ms, or when something wakes it.
   * @param {number} [ms]
   */
  function pause(ms) {
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        closed.signal.addEventListener("abort", wake, { once: true });
      })
    );
  }

  queueMicrotask(run); // not before the caller has what is returned
  return {
    close: () => closed.abort(),
    retryNow: () => suspended || wake(),
    /** Disconnect, but remember the last event, for `resume`. */
    suspend() {
      suspended = true;
      disconnect();
      wake();
    },
    resume() {
      suspended = false;
      wake();
    },
  };
}

/**
 * Return a wait in ms: twice as long each time, and at random, so that clients do not return at once.
 * @param {number} failures
 */
function backOff(failures) {
  return Math.min(MAX_WAIT, MIN_WAIT * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
}
