// The distributions of delays, as the server draws them.
/** @import { Delay } from "../types.js" */

const POINTS = 160;
const SPIKE = 0.012; // the width of a single value, as a share of the plot's

/**
 * Return the delay, in seconds, below which a share of the attempts lies.
 * @param {Delay} delay
 * @param {number} share
 */
export function quantile(delay, share) {
  if (delay.distribution === "constant") return delay.seconds;
  if (delay.distribution === "uniform") return delay.min + (delay.max - delay.min) * share;
  if (!delay.median || !delay.max) return 0;
  return Math.min(delay.max, delay.median * Math.exp(delay.sigma * normalQuantile(share)));
}

/**
 * Return columns of seconds and of density; null if the values don't make a distribution.
 * @param {Delay} delay
 * @returns {[number[], number[]] | null}
 */
export function density(delay) {
  const { distribution, ...values } = delay;
  if (!Object.values(values).every((value) => Number.isFinite(value) && value >= 0)) return null;
  if (distribution === "uniform") {
    if (values.min > values.max) return null;
    return values.min === values.max ? spike(values.min) : box(values.min, values.max);
  }
  if (distribution === "constant") return spike(values.seconds);
  const { median, sigma, max } = values;
  if (!median || !max || !sigma || max <= median * Math.exp(-4 * sigma)) {
    return spike(quantile(delay, 0.5));
  }
  return lognormal(median, sigma, max);
}

/**
 * @param {number} at
 * @returns {[number[], number[]]}
 */
function spike(at) {
  const width = at * 2 || 1;
  const end = at + width * SPIKE;
  return [
    [0, at, at, end, end, width],
    [0, 0, 1, 1, 0, 0],
  ];
}

/**
 * @param {number} min
 * @param {number} max
 * @returns {[number[], number[]]}
 */
function box(min, max) {
  const edge = (max - min) * 0.15;
  return [
    [Math.max(0, min - edge), min, min, max, max, max + edge],
    [0, 0, 1, 1, 0, 0],
  ];
}

/**
 * Delays above `max` become `max`: a step at the end, as large as their share.
 * @param {number} median
 * @param {number} sigma
 * @param {number} max
 * @returns {[number[], number[]]}
 */
function lognormal(median, sigma, max) {
  const far = median * Math.exp(3.2 * sigma);
  const end = Math.min(max, far);
  const xs = [];
  const ys = [];
  for (let point = 0; point <= POINTS; point += 1) {
    const x = (end * point) / POINTS;
    xs.push(x);
    ys.push(x ? Math.exp(-((Math.log(x / median) / sigma) ** 2) / 2) / x : 0);
  }
  if (max < far) {
    const mode = Math.max(...ys);
    xs.push(max * (1 + SPIKE), max * (1 + SPIKE));
    ys.push(Math.max(ys[POINTS], mode / 2), 0);
  }
  return [xs, ys];
}

/**
 * Return the standard normal quantile, found by bisection.
 * @param {number} share
 */
function normalQuantile(share) {
  let low = -8;
  let high = 8;
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    if (normalShare(middle) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * Return the standard normal distribution function, to 1e-7 (Abramowitz and Stegun 7.1.26).
 * @param {number} z
 */
function normalShare(z) {
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * x);
  const poly =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const half = (1 - poly * Math.exp(-x * x)) / 2;
  return z < 0 ? 0.5 - half : 0.5 + half;
}
