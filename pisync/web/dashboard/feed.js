// The present fleet's stream, for every view: batches of events, and when to read everything again.
/** @import { Connection, FleetEvent } from "./types.js" */
import { call } from "./api.js";
import { createBatches } from "./batches.js";
import { useEffect, useRef } from "./preact.js";
import * as rates from "./rates.js";
import { createStore } from "./store.js";
import { openStream } from "./stream.js";
import { learnTime } from "./time.js";

// A browser opens six connections to a host, for all tabs together: a hidden one must not keep one.
const HIDDEN_GRACE = 5_000; // ms

/**
 * @typedef {object} Handlers
 * @property {(events: FleetEvent[]) => void} [onEvents]
 * @property {() => void} [onReload]
 */

/** The stream's state. */
export const connection = createStore(/** @type {Connection} */ ({ phase: "connecting" }));

/** @type {Set<{ current: Handlers }>} */
const followers = new Set();
const batches = createBatches(deliver, reloadAll);
/** @type {ReturnType<typeof openStream> | null} */
let stream = null;
let fleet = "";
let hiding = 0;

/**
 * Follow a fleet, from now on.
 * @param {string} name
 */
export function follow(name) {
  unfollow();
  fleet = name;
  rates.clear();
  resume();
}

export function unfollow() {
  stream?.close();
  stream = null;
  batches.clear();
}

/** Freeze what is shown, until `resume`. */
export function pause() {
  unfollow();
  enter({ phase: "paused" });
}

export function resume() {
  unfollow();
  const opened = openStream({
    fleet,
    onEvents: (events) => stream === opened && batches.add(events),
    onState: (state) => stream === opened && enter(state),
    suspended: document.hidden,
  });
  stream = opened;
}

export function retryNow() {
  stream?.retryNow();
}

/** @param {Connection} state */
function enter(state) {
  connection.set(state);
  if (state.phase !== "live") return rates.suspend();
  rates.resume(state.resumed);
  // What a stream resumes with is counted when it comes.
  if (!state.resumed) fillRates();
  reloadAll(); // what was read before the stream opened may be older than its first event
}

/** Show what happened before this page was opened. */
async function fillRates() {
  const name = fleet;
  try {
    const { data } = await call({ path: `/stats?history=${rates.SECONDS}`, fleet: name });
    if (fleet === name) rates.fill(data.history);
  } catch {
    // The plot begins with what the stream tells.
  }
}

/** @param {FleetEvent[]} events */
function deliver(events) {
  // What came before the last `resync` is read again anyway.
  const resync = events.findLastIndex((event) => event.name === "resync");
  const rest = resync < 0 ? events : events.slice(resync + 1);
  if (resync >= 0) reloadAll();
  rates.count(rest);
  learnTime(rest);
  for (const follower of [...followers]) follower.current.onEvents?.(rest);
}

function reloadAll() {
  for (const follower of [...followers]) follower.current.onReload?.();
}

addEventListener("online", retryNow);
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => stream?.suspend(), HIDDEN_GRACE);
  } else {
    stream?.resume();
  }
});

/**
 * Call `onEvents` with each batch, and `onReload` when everything must be read again.
 * @param {Handlers} handlers
 */
export function useFeed(handlers) {
  const current = useRef(handlers);
  current.current = handlers;
  useEffect(() => {
    followers.add(current);
    return () => {
      followers.delete(current);
    };
  }, []);
}
