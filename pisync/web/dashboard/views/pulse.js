// Attempts a second and the share of failures, over the last minutes.
/** @import { Colours } from "../plot.js" */
import { Plot, axis, bars } from "../plot.js";
import { html, useMemo } from "../preact.js";
import * as rates from "../rates.js";
import { useStore } from "../store.js";
import { tick } from "../time.js";

export function Pulse() {
  const now = useStore(tick);
  const columns = useMemo(() => {
    const [times, attempts, shares] = rates.series();
    return [times, attempts, shares, shares];
  }, [now]);
  const { rate, share } = rates.latest();
  const failures = share === null ? "none finished" : `${share.toFixed(0)} %`;
  return html`<div class="card pulse">
    <dl class="legend">
      <div class="attempts">
        <dt><i aria-hidden="true"></i>Attempts a second</dt>
        <dd>${rate.toFixed(rate < 10 ? 1 : 0)}</dd>
      </div>
      <div class="failures">
        <dt><i aria-hidden="true"></i>Failed in the last minute</dt>
        <dd>${failures}</dd>
      </div>
    </dl>
    <${Plot}
      draw=${draw}
      data=${columns}
      height=${168}
      label=${`Over the last five minutes: attempts a second, now ${rate.toFixed(1)}; ` +
      `share of failures, ${failures} in the last minute`}
    />
  </div>`;
}

/** @param {Colours} colour */
function draw(colour) {
  /**
   * @param {unknown} _plot
   * @param {number} _oldest
   * @param {number} newest
   */
  const minutes = (_plot, _oldest, newest) => [newest - rates.SECONDS + 1, newest + 1];
  /**
   * @param {unknown} _plot
   * @param {number | null} _min
   * @param {number | null} max
   */
  const attempts = (_plot, _min, max) => [0, Math.max(4, (max ?? 0) * 1.15)];
  return {
    cursor: { show: false },
    padding: [10, 0, 0, 0],
    scales: { x: { time: true, range: minutes }, y: { range: attempts }, share: { range: [0, 100] } },
    axes: [
      axis(colour, {
        size: 30,
        gap: 10,
        space: 70,
        grid: { show: false },
        values: (/** @type {unknown} */ _plot, /** @type {number[]} */ times) => times.map(clockTime),
      }),
      axis(colour, { size: 40, space: 36 }),
      axis(colour, {
        side: 1,
        size: 46,
        scale: "share",
        grid: { show: false },
        splits: () => [0, 50, 100],
        values: (/** @type {unknown} */ _plot, /** @type {number[]} */ shares) =>
          shares.map((share) => `${share} %`),
      }),
    ],
    series: [
      {},
      {
        paths: bars,
        fill: colour("accent"),
        stroke: colour("accent"),
        width: 0,
        points: { show: false },
      },
      // An edge in the background's colour sets the line apart from the bars.
      { scale: "share", stroke: colour("card"), width: 6, points: { show: false } },
      { scale: "share", stroke: colour("s500"), width: 2, points: { show: false } },
    ],
  };
}

/** @param {number} seconds */
function clockTime(seconds) {
  const options = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return new Date(seconds * 1000).toLocaleTimeString([], options);
}
