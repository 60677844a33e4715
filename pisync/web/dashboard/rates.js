// Attempts that began, finished and failed, by second, over the last minutes.

export const SECONDS = 300;

const begun = new Float64Array(SECONDS);
const finished = new Float64Array(SECONDS);
const failed = new Float64Array(SECONDS);
let newest = second();
let since = newest;

function second() {
  return Math.floor(Date.now() / 1000);
}

export function clear() {
  for (const column of [begun, finished, failed]) column.fill(0);
  newest = since = second();
}

export function count(events) {
  const place = turnTo(second());
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

// A second's place in the columns; those that passed without an event are emptied.
function turnTo(now) {
  if (now < newest) now = newest; // the clock was set back
  for (let passed = Math.max(newest + 1, now - SECONDS + 1); passed <= now; passed += 1) {
    for (const column of [begun, finished, failed]) column[passed % SECONDS] = 0;
  }
  newest = now;
  return now % SECONDS;
}

/** Return the whole seconds past as columns: time, attempts begun, share of failures (0 to 100, or null). */
export function series(window = 10) {
  turnTo(second());
  const times = [];
  const attempts = [];
  const shares = [];
  for (let at = newest - SECONDS + 1; at < newest; at += 1) {
    times.push(at);
    attempts.push(at < since ? null : begun[at % SECONDS]);
    shares.push(shareOver(at, window));
  }
  return [times, attempts, shares];
}

/** Return attempts a second over the last ten, and the share of failures (0 to 100, or null) over a minute. */
export function latest() {
  turnTo(second());
  const seen = Math.min(10, Math.max(1, newest - since));
  return { rate: sum(begun, newest - 1, seen) / seen, share: shareOver(newest, 60) };
}

function shareOver(last, seconds) {
  const all = sum(finished, last, seconds);
  return all ? (100 * sum(failed, last, seconds)) / all : null;
}

function sum(column, last, seconds) {
  let total = 0;
  const first = Math.max(last - seconds + 1, newest - SECONDS + 1);
  for (let at = first; at <= last; at += 1) total += column[at % SECONDS];
  return total;
}
