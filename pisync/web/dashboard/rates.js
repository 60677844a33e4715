// Attempts that began, finished and failed, by second, over the last minutes.
/** @import { FleetEvent, History } from "./types.js" */

export const SECONDS = 300;

// A ring of seconds. `begun` is NaN in those during which no stream was open.
const begun = new Float64Array(SECONDS).fill(NaN);
const finished = new Float64Array(SECONDS);
const failed = new Float64Array(SECONDS);
let newest = second();
let suspended = true;

function second() {
  return Math.floor(Date.now() / 1000);
}

export function clear() {
  begun.fill(NaN);
  finished.fill(0);
  failed.fill(0);
  newest = second();
  suspended = true;
}

/** Count nothing until `resume`. */
export function suspend() {
  advance();
  suspended = true;
}

/** @param {boolean} [isReplayed] Whether the first events are older than this second. */
export function resume(isReplayed = false) {
  advance(second() + (isReplayed ? 1 : 0));
  suspended = false;
  if (!isReplayed) begun[newest % SECONDS] ||= 0;
}

/** @param {FleetEvent[]} events */
export function count(events) {
  const place = advance();
  if (Number.isNaN(begun[place])) return;
  for (const { name, data } of events) {
    if (name !== "sync") continue;
    const code = data.device.sync_status_code;
    if (code === 202) begun[place] += 1;
    else {
      finished[place] += 1;
      if (code !== 200) failed[place] += 1;
    }
  }
}

/**
 * Fill the seconds in which no stream was open with what the server has counted.
 * @param {History} history Its last second is the one before the present.
 */
export function fill({ started, succeeded, failed: failures }) {
  advance();
  const first = newest - started.length;
  started.forEach((count, index) => {
    const at = first + index;
    const place = at % SECONDS;
    if (at <= newest - SECONDS || !Number.isNaN(begun[place])) return;
    begun[place] = count;
    finished[place] = succeeded[index] + failures[index];
    failed[place] = failures[index];
  });
}

/** Return a second's place in the ring; those that passed without an event are emptied. */
function advance(now = second()) {
  if (now < newest) now = newest; // the clock was set back
  for (let passed = Math.max(newest + 1, now - SECONDS + 1); passed <= now; passed += 1) {
    begun[passed % SECONDS] = suspended ? NaN : 0;
    finished[passed % SECONDS] = failed[passed % SECONDS] = 0;
  }
  newest = now;
  return now % SECONDS;
}

/**
 * Return the whole seconds past as columns: time, attempts begun, share of failures (0 to 100).
 * Both are null where they are not known.
 */
export function series(window = 10) {
  advance();
  const times = [];
  const attempts = [];
  const shares = [];
  for (let at = newest - SECONDS + 1; at < newest; at += 1) {
    const known = begun[at % SECONDS];
    times.push(at);
    attempts.push(Number.isNaN(known) ? null : known);
    shares.push(shareOver(at, window));
  }
  return [times, attempts, shares];
}

/** Return attempts a second over the last ten, and the share of failures over a minute, or null. */
export function latest() {
  advance();
  const known = lastSeconds(newest - 1, 10).filter((at) => !Number.isNaN(begun[at]));
  return { rate: sum(begun, known) / (known.length || 1), share: shareOver(newest, 60) };
}

/**
 * @param {number} last
 * @param {number} seconds
 */
function shareOver(last, seconds) {
  const places = lastSeconds(last, seconds);
  const all = sum(finished, places);
  return all ? (100 * sum(failed, places)) / all : null;
}

/**
 * Return the places of some seconds up to the last.
 * @param {number} last
 * @param {number} seconds
 */
function lastSeconds(last, seconds) {
  const places = [];
  const first = Math.max(last - seconds + 1, newest - SECONDS + 1);
  for (let at = first; at <= last; at += 1) places.push(at % SECONDS);
  return places;
}

/**
 * @param {Float64Array} column
 * @param {number[]} places
 */
const sum = (column, places) => places.reduce((total, place) => total + column[place], 0);
