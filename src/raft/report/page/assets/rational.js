"use strict";
// The functions: P(x)/Q(x) as raft.rational computes it, other learned ones from their values at points, the
// fixed activations, and their derivatives.

const CONSTANT_TERM = { A: 1, B: 1, C: 0.1, D: 1, N: 1 };

/** Value and slope of a polynomial, its coefficients from the lowest power on. */
function polynomial(coefficients, x) {
  let value = 0, slope = 0;
  for (let k = coefficients.length - 1; k >= 0; k--) {
    slope = slope * x + value;
    value = value * x + coefficients[k];
  }
  return [value, slope];
}

/** Value and slope of P/Q at x. */
function rational(numerator, denominator, version, x) {
  const isA = version === "A";  // Σ|b_k x^k| is a polynomial in |x|
  const [p, pSlope] = polynomial(numerator, x);
  const b = isA ? denominator.map(Math.abs) : denominator;
  const [sum, sumSlope] = polynomial([0, ...b], isA ? Math.abs(x) : x);
  const sign = version === "A" || version === "N" ? 1 : Math.sign(sum);
  const q = CONSTANT_TERM[version] + sign * sum;
  const qSlope = sign * sumSlope * (isA ? Math.sign(x) : 1);
  return [p / q, (pSlope - (p / q) * qSlope) / q];
}

/**
 * Value and slope at x of a function that is known at points in rising order: lines between the points, and
 * between the slopes at them; undefined beyond the ends.
 */
function interpolated(points, values, x) {
  const last = points.length - 1;
  if (x < points[0] || x > points[last]) return [NaN, NaN];
  let k = 0, end = last;
  while (end - k > 1) {
    const middle = (k + end) >> 1;
    if (points[middle] <= x) k = middle;
    else end = middle;
  }
  const rise = (i) => (Number(values[i + 1]) - Number(values[i])) / (points[i + 1] - points[i]);
  // at a point the mean of both sides' slopes
  const slope = (i) => (rise(Math.max(i - 1, 0)) + rise(Math.min(i, last - 1))) / 2;
  const part = (x - points[k]) / (points[k + 1] - points[k]);
  return [Number(values[k]) + (x - points[k]) * rise(k), (1 - part) * slope(k) + part * slope(k + 1)];
}

/** The coefficients, or values at points, of each group at a step. */
const rows = (raf, step) => (raf.curves ?? raf.numerator)[step];

/** The error function to double precision: a series without cancellation. */
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** Those of raft.coefficients.functions, by the same names. */
const FIXED = {
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => Math.max(x, 0),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  silu: (x) => x * sigmoid(x),
  mish: (x) => x * Math.tanh(softplus(x)),
  softplus: softplus,
  tanh: Math.tanh,
  sigmoid: sigmoid,
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  identity: (x) => x,
  relu2: (x) => Math.max(x, 0) ** 2,
  leaky_relu2: (x) => Math.max(x, 0.5 * x) ** 2,
};

const NAMES = {
  gelu: "GELU", gelu_tanh: "GELU (tanh)", relu: "ReLU", leaky_relu: "leaky ReLU", silu: "SiLU", mish: "Mish",
  softplus: "softplus", tanh: "tanh", sigmoid: "sigmoid", elu: "ELU", identity: "identity",
  relu2: "squared ReLU", leaky_relu2: "squared leaky ReLU",
};

/** Value and slope of a fixed activation; at a kink the mean of both sides' slopes. */
function fixed(name, x) {
  const f = FIXED[name], h = 1e-5;
  return [f(x), (f(x + h) - f(x - h)) / (2 * h)];
}
