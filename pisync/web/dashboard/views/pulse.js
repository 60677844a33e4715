// Attempts a second and the share of failures, over the last minutes.
import { html, useMemo } from "/dashboard/preact.js";
import { Plot, axis, bars } from "../plot.js";
import * as rates from "../rates.js";
import { useStore } from "../store.js";
import { tick } from "../time.js";

const SPAN = rates.SECONDS;

export function Pulse() {
  const now = useStore(tick);
  const columns = useMemo(() => {
    const [times, attempts, shares] = rates.series();
    return [times, attempts, shares, shares];
  }, [now]);
  const { rate, share } = rates.latest();
  const said = share === null ? "none finished" : `${share.toFixed(0)} %`;
  return html`<div class="card pulse">
    <dl class="legend">
      <div class="attempts"><dt><i aria-hidden="true"></i>Attempts a second</dt><dd>${rate.toFixed(rate < 10 ? 1 : 0)}</dd></div>
      <div class="failures"><dt><i aria-hidden="true"></i>Failed in the last minute</dt><dd>${said}</dd></div>
    </dl>
    <${Plot}
      draw=${draw}
      data=${columns}
      height=${168}
      label="Over the last five minutes: attempts a second, now ${rate.toFixed(1)}; share of failures, ${said} in the last minute"
    />
  </div>`;
}

function draw(colour) {
  return {
    cursor: { show: false },
    padding: [10, 0, 0, 0],
    scales: {
      x: { time: true, range: (_, __, newest) => [newest - SPAN + 1, newest + 1] },
      y: { range: (_, __, most) => [0, Math.max(4, (most ?? 0) * 1.15)] },
      share: { range: [0, 100] },
    },
    axes: [
      axis(colour, { size: 30, gap: 10, space: 70, grid: { show: false }, values: (_, times) => times.map(back) }),
      axis(colour, { size: 40, space: 36 }),
      axis(colour, {
        side: 1,
        size: 46,
        scale: "share",
        grid: { show: false },
        splits: () => [0, 50, 100],
        values: (_, shares) => shares.map((each) => `${each} %`),
      }),
    ],
    series: [
      {},
      { paths: bars, fill: colour("accent"), stroke: colour("accent"), width: 0, points: { show: false } },
      // An edge of the ground's colour, so that the line can be told from the bars.
      { scale: "share", stroke: colour("card"), width: 6, points: { show: false } },
      { scale: "share", stroke: colour("s500"), width: 2, points: { show: false } },
    ],
  };
}

function back(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}
