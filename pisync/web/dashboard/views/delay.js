// How long attempts take, with a preview of the distribution.
/** @import { Delay as DelayData, FieldErrors } from "../types.js" */
/** @import { Colours } from "../plot.js" */
import { Field, NumberField } from "../parts.js";
import { Plot, axis } from "../plot.js";
import { html, useMemo } from "../preact.js";
import { span } from "../time.js";
import { density, quantile } from "./distribution.js";

const LABELS = {
  constant: { seconds: "Seconds" },
  uniform: { min: "Shortest, s", max: "Longest, s" },
  lognormal: { median: "Median, s", sigma: "Sigma", max: "Longest, s" },
};
const DEFAULTS = {
  constant: { distribution: "constant", seconds: 2 },
  uniform: { distribution: "uniform", min: 1, max: 5 },
  lognormal: { distribution: "lognormal", median: 2, sigma: 0.5, max: 10 },
};

/**
 * @param {object} props
 * @param {DelayData} props.delay
 * @param {FieldErrors} props.errors
 * @param {(delay: object) => void} props.onChange
 */
export function Delay({ delay, errors, onChange }) {
  const columns = useMemo(() => density(delay), [delay]);
  const quantiles = columns && [0.5, 0.95, 0.99].map((share) => span(quantile(delay, share)));
  const summary =
    quantiles &&
    `Half within ${quantiles[0]}, 95 % within ${quantiles[1]}, 99 % within ${quantiles[2]}`;
  return html`<fieldset class="delay">
    <legend>Delay</legend>
    <div class="fields">
      <${Field}
        as="select"
        label="Distribution"
        value=${delay.distribution}
        onChange=${(/** @type {any} */ { target }) =>
          onChange(DEFAULTS[/** @type {keyof typeof DEFAULTS} */ (target.value)])}
      >
        ${Object.keys(LABELS).map((name) => html`<option value=${name}>${name}</option>`)}
      <//>
      ${Object.entries(LABELS[delay.distribution]).map(
        ([name, label]) => html`<${NumberField}
          key=${`${delay.distribution} ${name}`}
          label=${label}
          value=${delay[name]}
          error=${errors[`profile.delay.${name}`]}
          onChange=${(/** @type {number | string} */ value) => onChange({ ...delay, [name]: value })}
        />`,
      )}
    </div>
    ${columns
      ? html`<${Plot}
            draw=${draw}
            data=${columns}
            height=${120}
            label="How delays are distributed. ${summary}."
          />
          <p class="muted small-print">${summary}.</p>`
      : html`<p class="empty h120">No preview: these values don't go together.</p>`}
  </fieldset>`;
}

/** @param {Colours} colour */
function draw(colour) {
  return {
    cursor: { show: false },
    padding: [8, 12, 0, 12],
    scales: {
      x: { time: false },
      y: {
        range: (/** @type {unknown} */ _plot, /** @type {number} */ _min, /** @type {number} */ max) => [
          0,
          (max || 1) * 1.1,
        ],
      },
    },
    axes: [
      axis(colour, {
        size: 24,
        space: 60,
        grid: { show: false },
        values: (/** @type {unknown} */ _plot, /** @type {number[]} */ seconds) =>
          seconds.map((value) => `${value} s`),
      }),
      { show: false },
    ],
    series: [
      {},
      {
        stroke: colour("accent"),
        fill: colour("accent-soft"),
        width: 2,
        points: { show: false },
      },
    ],
  };
}
