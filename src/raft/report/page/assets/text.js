"use strict";
// What the viewer says in words and numbers, and the elements that it says it with.

const ROWS = 21;  // of the table of values

/** A number with so many digits after the point, as Python's format does it, with a minus sign. */
function digits(value, count = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "undefined" : value > 0 ? "∞" : "−∞";
  const text = Math.abs(value) < 1e5 ? value.toFixed(count) : value.toExponential(count);
  return (/^-[0.]*$/.test(text) ? text.slice(1) : text).replace("-", "−");
}

const count = (value) => value.toLocaleString("en");

function element(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

/** Fill a select with [value, text] pairs, and keep its choice where it is still among them. */
function offer(select, options, wanted = select.value) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => String(value) === wanted)) select.value = wanted;
}

/** The plot's alternative: values over the range of x. */
function valuesTable(range, decimals, f, other) {
  const table = element("table"), heads = ["x", "f(x)", "f′(x)"];
  if (other) heads.push(other.name, `slope of ${other.name}`);
  table.append(element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))));
  const rows = samples(range, ROWS).map((x) => {
    const values = [...f(x), ...(other ? other.at(x) : [])];
    const head = element("th", { scope: "row" }, digits(x, decimals + 1));
    return element("tr", {}, head, ...values.map((value) => element("td", {}, digits(value))));
  });
  table.append(element("tbody", {}, ...rows));
  return table;
}

/** What a function is that the page has the values of, its parameters in the end, and what the run is, as lines. */
function parameters(raf, group, run) {
  const settings = Object.entries(raf.settings).filter(([name]) => name !== "groups");
  return [
    [raf.kind, ...settings.map(([name, value]) => `${name} ${[value].flat().join(" to ")}`)].join(", "),
    ...Object.entries(raf.parameters).map(([name, values]) => `${name} = ${values[group].join(", ")}`),
    `${raf.site}, step ${run.steps[run.steps.length - 1]}`,
    ...Object.entries(run.settings).map(([name, value]) => `${name}: ${value}`),
  ];
}

/** P, Q and f with their coefficients, and what the run is, as lines. */
function formula(raf, step, group, run) {
  if (raf.curves) return parameters(raf, group, run);
  const [a, b] = [raf.numerator[step][group], raf.denominator[step][group]];
  const power = (k) => (k === 0 ? "" : k === 1 ? " x" : ` x^${k}`);
  const sum = (terms) => terms.join(" + ").replaceAll("+ -", "- ") || "0";
  const inQ = b.map((value, k) => (raf.version === "A" ? `|${value}${power(k + 1)}|` : `${value}${power(k + 1)}`));
  const q = "BCD".includes(raf.version) ? `|${sum(inQ)}|` : sum(inQ);
  const lines = [
    `P(x) = ${sum(a.map((value, k) => `${value}${power(k)}`))}`,
    `Q(x) = ${CONSTANT_TERM[raf.version]} + ${q}`,
    `f(x) = ${raf.beside ? `${NAMES[raf.beside] ?? raf.beside}(x) + ` : ""}P(x) / Q(x)`,
    `${raf.site}, version ${raf.version}, step ${run.steps[step]}`,
    ...Object.entries(run.settings).map(([name, value]) => `${name}: ${value}`),
  ];
  if (raf.beside && !FIXED[raf.beside]) lines.push(`This page does not know ${raf.beside}: P/Q is drawn without it.`);
  return lines;
}
