// Gathers items as they arrive and delivers them together, at most once a frame.

const PAUSE = 100; // ms between two batches: nobody reads faster
const HIDDEN_PAUSE = 500; // ms; a hidden page gets no frames
const MAX_WAITING = 20_000;

/**
 * @template T
 * @param {(batch: T[]) => void} deliver
 * @param {() => void} overflow Called in place of `deliver` when too many items were waiting.
 */
export function createBatches(deliver, overflow) {
  /** @type {T[]} */
  let waiting = [];
  let scheduled = false;
  let last = -Infinity;

  function flush() {
    if (!scheduled) return;
    scheduled = false;
    last = performance.now();
    const batch = waiting;
    waiting = [];
    if (batch.length) deliver(batch);
  }

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    setTimeout(flush, HIDDEN_PAUSE);
    const left = last + PAUSE - performance.now();
    if (left <= 0) requestAnimationFrame(flush);
    else setTimeout(() => requestAnimationFrame(flush), left);
  }

  return {
    /** @param {T[]} items */
    add(items) {
      if (waiting.length + items.length > MAX_WAITING) {
        waiting = [];
        overflow();
      } else {
        waiting.push(...items);
        schedule();
      }
    },
    clear() {
      waiting = [];
    },
  };
}
