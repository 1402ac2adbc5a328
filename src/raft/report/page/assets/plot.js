"use strict";
// Two panels above one another, of f and of its derivative, over one axis of inputs.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 44, right: 12, top: 8, bottom: 26, between: 14 };
const SAMPLES = 301;

function svgElement(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Round numbers between low and high, about so many. */
function ticks(low, high, about) {
  const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough * 0.999) * power;
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

/** A path through points, lifted over those that are not finite. */
function path(xs, ys, toX, toY) {
  let drawn = "", isUp = true;
  xs.forEach((x, k) => {
    if (Number.isFinite(ys[k])) drawn += `${isUp ? "M" : "L"}${toX(x).toFixed(2)} ${toY(ys[k]).toFixed(2)}`;
    isUp = !Number.isFinite(ys[k]);
  });
  return drawn;
}

/** The scale of a panel: from the interval [low, high] to [from, to]. */
function scale([low, high], from, to) {
  return (value) => {
    const place = from + ((value - low) / (high - low)) * (to - from);
    return Math.max(-1e5, Math.min(1e5, place));  // poles would be beyond what SVG can hold
  };
}

/**
 * Draw into an element.
 *
 * place: element that is emptied and filled.
 * view: { range: [low, high], bounds: [[low, high] of f, of f′], curves: [{ kind, values: [of f, of f′] }],
 *         density or null, x }, where values and density are arrays over SAMPLES points of the range.
 * at: [{ kind, values: [f(x), f′(x)] }], the dots at view.x.
 * Returns the function from pixels to inputs.
 */
function drawPlot(place, view, at) {
  const width = Math.max(260, place.clientWidth), height = Math.round(Math.min(460, 180 + width * 0.42));
  const inner = height - MARGIN.top - MARGIN.bottom - MARGIN.between;
  const tops = [MARGIN.top, MARGIN.top + Math.round(inner * 0.62) + MARGIN.between];
  const bottoms = [tops[1] - MARGIN.between, height - MARGIN.bottom];
  const right = width - MARGIN.right;
  const toX = scale(view.range, MARGIN.left, right);
  const xs = samples(view.range);
  const root = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, width, height });

  tops.forEach((top, panel) => {
    const bottom = bottoms[panel], toY = scale(view.bounds[panel], bottom, top);
    const clip = `${place.parentNode.id}-clip-${panel}`;
    const frame = svgElement("clipPath", { id: clip });
    frame.append(svgElement("rect", { x: MARGIN.left, y: top, width: right - MARGIN.left, height: bottom - top }));
    root.append(frame);
    for (const value of ticks(...view.range, width / 80)) {
      const x = toX(value);
      root.append(svgElement("line", { class: value === 0 ? "zero" : "grid", x1: x, x2: x, y1: top, y2: bottom }));
      const isNamed = panel === 1 && right - x > 24;  // where the axis ends stands its name
      if (isNamed) root.append(svgElement("text", { x, y: height - 9, "text-anchor": "middle" }, plain(value)));
    }
    for (const value of ticks(...view.bounds[panel], (bottom - top) / 36)) {
      const y = toY(value);
      root.append(svgElement("line", { class: value === 0 ? "zero" : "grid", x1: MARGIN.left, x2: right, y1: y, y2: y }));
      root.append(svgElement("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, plain(value)));
    }
    const inside = svgElement("g", { "clip-path": `url(#${clip})` });
    if (panel === 0 && view.density) {
      const most = Math.max(...view.density), toDensity = scale([0, most], bottom, bottom - (bottom - top) * 0.45);
      const drawn = path(xs, view.density, toX, toDensity);
      inside.append(svgElement("path", { class: "density", d: `${drawn}L${right} ${bottom}L${MARGIN.left} ${bottom}Z` }));
    }
    for (const curve of view.curves) {
      inside.append(svgElement("path", { class: `curve ${curve.kind}`, d: path(xs, curve.values[panel], toX, toY) }));
    }
    const x = toX(view.x);
    inside.append(svgElement("line", { class: "at", x1: x, x2: x, y1: top, y2: bottom }));
    for (const { kind, values } of at) {
      if (Number.isFinite(values[panel])) {
        inside.append(svgElement("circle", { class: `dot ${kind}`, cx: x, cy: toY(values[panel]), r: 4.5 }));
      }
    }
    root.append(inside, svgElement("text", { class: "name", x: MARGIN.left + 6, y: top + 14 }, panel ? "f′(x)" : "f(x)"));
  });
  root.append(svgElement("text", { class: "name", x: right, y: height - 9, "text-anchor": "end" }, "x"));
  place.replaceChildren(root);
  return (pixel) => view.range[0] + ((pixel - MARGIN.left) / (right - MARGIN.left)) * (view.range[1] - view.range[0]);
}

function samples([low, high], count = SAMPLES) {
  return Array.from({ length: count }, (_, k) => low + ((high - low) * k) / (count - 1));
}

/** An interval around values that leaves a little room; farther than `most` from zero nothing is shown. */
function bounds(values, most) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [-1, 1];
  [low, high] = [low, high].map((value) => Math.max(-most, Math.min(most, value)));
  const room = 0.06 * Math.max(high - low, 0.1);
  return [low - room, high + room];
}

function plain(value) {
  return String(value).replace("-", "−");
}
