// Gathers what arrives, and hands it on once a frame at the most, however much it is.

const PAUSE = 100; // ms between two batches: nobody reads faster
const HIDDEN_PAUSE = 500; // a page that is not seen gets no frames
const MOST = 20_000; // waiting at once

/** Return `{add, clear}`. `deliver` gets batches; `overflow` is called when too much was waiting. */
export function createBatches(deliver, overflow) {
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
    add(items) {
      if (waiting.length + items.length > MOST) {
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
