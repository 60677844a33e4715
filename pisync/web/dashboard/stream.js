// One event stream, kept open: read with fetch, resumed where it broke off, retried with back-off.
import { headers, problem } from "./api.js";
import { EventParser } from "./sse.js";

const SILENCE = 45_000; // ms without even a comment (those come every 15 s): the line is dead
const FIRST_WAIT = 400; // ms
const LONGEST_WAIT = 15_000;
const SETTLED = 5_000; // ms open, after which the back-off begins anew

/**
 * Open a fleet's stream.
 *
 * `onEvents` gets arrays of `{id, name, data}`, data parsed. `onState` gets `{phase}`: "connecting",
 * "live", "retrying" with `until` (ms), or "refused" with `why`, which is final.
 * Return `{close, retryNow}`.
 */
export function openStream({ fleet, onEvents, onState }) {
  const closed = new AbortController();
  let lastId;
  let failures = 0;
  let wake = () => {};

  async function run() {
    while (!closed.signal.aborted) {
      onState({ phase: failures ? "retrying" : "connecting", until: 0 });
      const opened = performance.now();
      let wait = 0;
      try {
        wait = await connect();
      } catch {
        // The network's errors say nothing that a reader could use.
      }
      if (closed.signal.aborted || wait === Infinity) return;
      failures = performance.now() - opened > SETTLED ? 1 : failures + 1;
      await sleep(Math.max(wait, backOff(failures)));
    }
  }

  /** Read until the stream ends. Return how long the server wants to be left alone; Infinity: for ever. */
  async function connect() {
    const line = new AbortController();
    const hangUp = () => line.abort();
    closed.signal.addEventListener("abort", hangUp);
    let silence = setTimeout(hangUp, SILENCE);
    try {
      const response = await fetch("/events", {
        headers: { ...headers(fleet), ...(lastId !== undefined && { "Last-Event-ID": lastId }) },
        cache: "no-store",
        signal: line.signal,
      });
      if (!response.ok) return await refused(response);
      onState({ phase: "live" });
      const parser = new EventParser(lastId);
      const decoder = new TextDecoder();
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) return 0;
        clearTimeout(silence);
        silence = setTimeout(hangUp, SILENCE);
        const events = parser.feed(decoder.decode(value, { stream: true }));
        if (events.length) {
          lastId = events.at(-1).id;
          onEvents(events.map((event) => ({ ...event, data: JSON.parse(event.data) })));
        }
      }
    } finally {
      clearTimeout(silence);
      closed.signal.removeEventListener("abort", hangUp);
    }
  }

  async function refused(response) {
    const why = await problem(response);
    if (response.status >= 500 || response.status === 429) return why.retryAfter * 1000;
    onState({ phase: "refused", why: why.message, status: response.status });
    return Infinity;
  }

  function sleep(ms) {
    onState({ phase: "retrying", until: Date.now() + ms });
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      closed.signal.addEventListener("abort", wake, { once: true });
    });
  }

  queueMicrotask(run); // not before the caller has what is returned
  return { close: () => closed.abort(), retryNow: () => wake() };
}

/** Return a wait in ms: twice as long each time, and never the same for all who wait. */
function backOff(failures) {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
}
