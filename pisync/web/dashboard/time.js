// Fleet time, as far as this page knows it, and how long ago something was.
/** @import { Clock, FleetEvent } from "./types.js" */
import { createStore } from "./store.js";

const MAX_DRIFT = 2_000; // ms that events may take to arrive

/** Counts seconds while the page is visible. */
export const tick = createStore(0);
setInterval(() => {
  if (!document.hidden) tick.set(tick.get() + 1);
}, 1000);
document.addEventListener("visibilitychange", () => tick.set(tick.get() + 1));

let base = wallClock();

function wallClock() {
  return { now: Date.now(), at: performance.now(), speed: 1 };
}

/** Forget a fleet's clock: the next one is taken for the wall clock until more is known. */
export function forgetClock() {
  base = wallClock();
}

/**
 * Take over a clock as the API shows it.
 * @param {Clock} clock
 */
export function setClock({ now, speed }) {
  base = { now: Date.parse(now), at: performance.now(), speed };
  tick.set(tick.get() + 1);
}

export function fleetNow() {
  return base.now + (performance.now() - base.at) * base.speed;
}

/**
 * Learn the fleet's time from attempts that have just begun.
 * @param {FleetEvent[]} events
 */
export function learnTime(events) {
  for (let place = events.length - 1; place >= 0; place -= 1) {
    const { name, data } = events[place];
    if (name === "sync" && data.device.sync_status_code === 202) {
      const now = Date.parse(data.device.last_attempt_at);
      if (Math.abs(now - fleetNow()) > MAX_DRIFT) base = { ...base, now, at: performance.now() };
      return;
    }
  }
}

/** Up to so many seconds, the unit in seconds, its name. */
const UNITS = /** @type {[number, number, string][]} */ ([
  [60, 1, "s"],
  [3600, 60, "min"],
  [172_800, 3600, "h"],
  [63 * 86_400, 86_400, "d"],
  [730 * 86_400, 30.44 * 86_400, "mo"],
  [Infinity, 365.25 * 86_400, "y"],
]);

/**
 * Return how long ago a timestamp is, in one unit.
 * @param {string} timestamp
 */
export function ago(timestamp) {
  const seconds = (fleetNow() - Date.parse(timestamp)) / 1000;
  if (seconds < 1) return "just now";
  const [, unit, name] = UNITS.find(([limit]) => seconds < limit) ?? UNITS[UNITS.length - 1];
  return `${Math.floor(seconds / unit)} ${name} ago`;
}

/**
 * Return a timestamp in full, as people read it.
 * @param {string} timestamp
 */
export function exact(timestamp) {
  return timestamp.replace("T", " ").replace("Z", " UTC");
}

/**
 * Return a number of seconds in a unit that suits it.
 * @param {number} seconds
 */
export function span(seconds) {
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${Number(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  if (seconds < 7200) return `${Number((seconds / 60).toFixed(1))} min`;
  return `${Number((seconds / 3600).toFixed(1))} h`;
}
