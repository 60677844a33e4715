// How long attempts take, with a preview of how that spreads.
import { html, useMemo } from "/dashboard/preact.js";
import { Field, NumberField } from "../parts.js";
import { Plot, axis } from "../plot.js";
import { span } from "../time.js";
import { density, quantile } from "./distribution.js";

const KINDS = {
  constant: { seconds: "Seconds" },
  uniform: { min: "Shortest, s", max: "Longest, s" },
  lognormal: { median: "Median, s", sigma: "Sigma", max: "Longest, s" },
};
const FIRST = {
  constant: { distribution: "constant", seconds: 2 },
  uniform: { distribution: "uniform", min: 1, max: 5 },
  lognormal: { distribution: "lognormal", median: 2, sigma: 0.5, max: 10 },
};

export function Delay({ delay, wrong, onChange }) {
  const columns = useMemo(() => density(delay), [delay]);
  const quantiles = columns && [0.5, 0.95, 0.99].map((u) => span(quantile(delay, u)));
  const said = quantiles && `Half within ${quantiles[0]}, 95 % within ${quantiles[1]}, 99 % within ${quantiles[2]}`;
  return html`<fieldset class="delay">
    <legend>Delay</legend>
    <div class="fields">
      <${Field} as="select" label="Distribution" value=${delay.distribution} onChange=${(event) => onChange(FIRST[event.target.value])}>
        ${Object.keys(KINDS).map((each) => html`<option value=${each}>${each}</option>`)}
      <//>
      ${Object.entries(KINDS[delay.distribution]).map(
        ([name, label]) => html`<${NumberField}
          key=${`${delay.distribution} ${name}`}
          label=${label}
          value=${delay[name]}
          error=${wrong[`profile.delay.${name}`]}
          onChange=${(value) => onChange({ ...delay, [name]: value })}
        />`,
      )}
    </div>
    ${columns
      ? html`<${Plot} draw=${draw} data=${columns} height=${120} label="How delays spread. ${said}." />
          <p class="muted small-print">${said}.</p>`
      : html`<p class="empty h120">No preview: these values don't go together.</p>`}
  </fieldset>`;
}

function draw(colour) {
  return {
    cursor: { show: false },
    padding: [8, 12, 0, 12],
    scales: { x: { time: false }, y: { range: (_, __, most) => [0, (most || 1) * 1.1] } },
    axes: [
      axis(colour, { size: 24, space: 60, grid: { show: false }, values: (_, all) => all.map((each) => `${each} s`) }),
      { show: false },
    ],
    series: [
      {},
      { stroke: colour("accent"), fill: colour("accent-soft"), width: 2, points: { show: false } },
    ],
  };
}
