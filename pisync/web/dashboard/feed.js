// The present fleet's stream, for all that is shown: batches of events, and when to read anew.
import { useEffect, useRef } from "/dashboard/preact.js";
import { createBatches } from "./batches.js";
import * as rates from "./rates.js";
import { createStore } from "./store.js";
import { openStream } from "./stream.js";
import { learnTime } from "./time.js";

/** The stream's state; see `openStream`. Also `{phase: "paused"}`. */
export const connection = createStore({ phase: "connecting" });

const followers = new Set();
const batches = createBatches(deliver, readAnew);
let stream = null;
let fleet = null;

/** Follow a fleet, from now on. */
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

/** Hold still what is shown, until `resume`. */
export function pause() {
  unfollow();
  connection.set({ phase: "paused" });
}

export function resume() {
  unfollow();
  const opened = openStream({
    fleet,
    onEvents: (events) => stream === opened && batches.add(events),
    onState: (state) => stream === opened && turned(state),
  });
  stream = opened;
}

export function retryNow() {
  stream?.retryNow();
}

// When the stream opens, what was read before may be older than its first event.
function turned(state) {
  connection.set(state);
  if (state.phase === "live") readAnew();
}

function deliver(events) {
  // What came before the last `resync` is read again anyway.
  const resync = events.findLastIndex((event) => event.name === "resync");
  const rest = resync < 0 ? events : events.slice(resync + 1);
  if (resync >= 0) readAnew();
  rates.count(rest);
  learnTime(rest);
  for (const follower of [...followers]) follower.current.onEvents?.(rest);
}

function readAnew() {
  for (const follower of [...followers]) follower.current.onReload?.();
}

addEventListener("online", retryNow);
document.addEventListener("visibilitychange", () => document.hidden || retryNow());

/** Call `onEvents(events)` with each batch, and `onReload()` when all must be read again. */
export function useFeed(handlers) {
  const current = useRef(handlers);
  current.current = handlers;
  useEffect(() => {
    followers.add(current);
    return () => followers.delete(current);
  }, []);
}
