// The distributions of delays, as the server draws them.

const POINTS = 160;
const SPIKE = 0.012; // of the width: how wide one value is drawn

/** Return the delay, in seconds, below which a share `u` of attempts lies. */
export function quantile(delay, u) {
  if (delay.distribution === "constant") return delay.seconds;
  if (delay.distribution === "uniform") return delay.min + (delay.max - delay.min) * u;
  if (!delay.median || !delay.max) return 0;
  return Math.min(delay.max, delay.median * Math.exp(delay.sigma * normalQuantile(u)));
}

/** Return columns of seconds and of density; null if the values don't make a distribution. */
export function density(delay) {
  const { distribution, ...values } = delay;
  if (!Object.values(values).every((each) => Number.isFinite(each) && each >= 0)) return null;
  if (distribution === "uniform") {
    if (values.min > values.max) return null;
    return values.min === values.max ? spike(values.min) : box(values.min, values.max);
  }
  if (distribution === "constant") return spike(values.seconds);
  const { median, sigma, max } = values;
  if (!median || !max || !sigma || max <= median * Math.exp(-4 * sigma)) return spike(quantile(delay, 0.5));
  return lognormal(median, sigma, max);
}

function spike(at) {
  const width = at * 2 || 1;
  return [[0, at, at, at + width * SPIKE, at + width * SPIKE, width], [0, 0, 1, 1, 0, 0]];
}

function box(min, max) {
  const edge = (max - min) * 0.15;
  return [[Math.max(0, min - edge), min, min, max, max, max + edge], [0, 0, 1, 1, 0, 0]];
}

// Delays above `max` take `max`: a step at the end as large as their share.
function lognormal(median, sigma, max) {
  const far = median * Math.exp(3.2 * sigma);
  const end = Math.min(max, far);
  const xs = [];
  const ys = [];
  for (let place = 0; place <= POINTS; place += 1) {
    const x = (end * place) / POINTS;
    xs.push(x);
    ys.push(x ? Math.exp(-((Math.log(x / median) / sigma) ** 2) / 2) / x : 0);
  }
  if (max < far) {
    const mode = Math.max(...ys);
    xs.push(max * (1 + SPIKE), max * (1 + SPIKE));
    ys.push(Math.max(ys.at(-1), mode / 2), 0);
  }
  return [xs, ys];
}

/** Return the standard normal quantile, found by halving. */
function normalQuantile(u) {
  let low = -8;
  let high = 8;
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    if (normalShare(middle) < u) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Return the standard normal distribution function, to 1e-7 (Abramowitz and Stegun 7.1.26). */
function normalShare(z) {
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * x);
  const poly =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const half = (1 - poly * Math.exp(-x * x)) / 2;
  return z < 0 ? 0.5 - half : 0.5 + half;
}
