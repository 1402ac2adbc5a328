"use strict";
// The viewer: choices, a training step and an input x make a view of one RAF, which is drawn and read out.

const RANGES = [3, 5, 10, 20, 50];
const PLAY_SECONDS = 6;

class Viewer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.run = this.data.runs[0];
    this.find = (selector) => root.querySelector(selector);
    this.of = (name) => root.querySelector(`[data-of="${name}"]`);
    root.hidden = false;
    this.makeChoices();
    this.takeRun();
    this.step.value = this.step.max;
    this.takeRaf();
    this.listen();
    this.show();
  }

  get step() { return this.of("step"); }
  get x() { return Number(this.of("x").value); }

  /** A select for each setting in which runs differ. */
  makeChoices() {
    for (const key of this.data.choices) {
      const values = [...new Set(this.data.runs.map((run) => run.settings[key] ?? "–"))];
      const select = element("select", { "data-choice": key });
      offer(select, values.map((value) => [value, value]), this.run.settings[key] ?? "–");
      this.find(".choices").append(element("label", {}, `${key[0].toUpperCase()}${key.slice(1)} `, select));
    }
  }

  listen() {
    this.root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    this.root.addEventListener("input", (event) => {
      const { of, choice } = event.target.dataset;
      if (of !== "x" && of !== undefined && of !== "step") this.stop();
      if (choice) this.chooseRun(choice, event.target.value);
      if (of === "site") this.takeRaf();
      if (of === "range") this.takeRange();
      this.show();
    });
    this.find(".play").addEventListener("click", () => (this.timer ? this.stop() : this.play()));
    const plot = this.find(".plot");
    const point = (event) => {
      this.of("x").value = this.toInput(event.clientX - plot.getBoundingClientRect().left);
      this.show("off");
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", (event) => {
      point(event);
      this.of("x").focus({ preventScroll: true });  // arrow keys go on from here
      event.preventDefault();
    });
    new ResizeObserver(() => this.show("off")).observe(plot);
  }

  /** The run that has this value, and of those the one most like the one before. */
  chooseRun(key, value) {
    const before = this.run.settings;
    const alike = (run) => this.data.choices.filter((each) => run.settings[each] === before[each]).length;
    const having = this.data.runs.filter((run) => (run.settings[key] ?? "–") === value);
    this.run = having.reduce((best, run) => (alike(run) > alike(best) ? run : best));
    for (const select of this.root.querySelectorAll("[data-choice]")) {
      select.value = this.run.settings[select.dataset.choice] ?? "–";
    }
    this.takeRun();
    this.takeRaf();
  }

  takeRun() {
    const wasLast = this.step.value === this.step.max;
    offer(this.of("site"), this.run.rafs.map((raf) => [raf.site, this.data.labels[raf.site]]));
    this.step.max = this.run.steps.length - 1;
    if (wasLast) this.step.value = this.step.max;
    this.find(".steps").hidden = this.run.steps.length < 2;
  }

  takeRaf() {
    this.raf = this.run.rafs.find((raf) => raf.site === this.of("site").value);
    const groups = rows(this.raf, 0).length;
    offer(this.of("group"), Array.from({ length: groups }, (_, group) => [group, `${group + 1} of ${groups}`]));
    this.find(".group").hidden = groups < 2;
    const baseline = this.raf.baseline ? [["baseline", `${NAMES[this.raf.baseline]} (the baseline's)`]] : [];
    const others = Object.keys(FIXED).filter((name) => name !== this.raf.baseline).map((name) => [name, NAMES[name]]);
    const first = this.run.steps.length > 1 ? [["first", `this ${this.raf.kind ?? "RAF"} at step ${count(this.run.steps[0])}`]] : [];
    offer(this.of("beside"), [...baseline, ...first, ...others, ["none", "nothing"]]);
    const inputs = this.raf.density ? [["seen", "its inputs"]] : [];
    // a range that was chosen is kept, one that is there for want of inputs is not
    const wanted = this.of("range").value;
    const isChosen = this.rangeIsChosen && (wanted !== "seen" || this.raf.density);
    offer(this.of("range"), [...inputs, ...RANGES.map((far) => [far, `−${far} to ${far}`])],
      isChosen ? wanted : inputs.length ? "seen" : "3");
    this.setRange();
  }

  takeRange() {
    this.rangeIsChosen = true;
    this.setRange();
  }

  /** The interval of x and the slider's steps over it. */
  setRange() {
    const chosen = this.of("range").value, before = this.x, slider = this.of("x"), isNew = !slider.max;
    const [low, high] = chosen === "seen" ? [this.raf.density.low, this.raf.density.high] : [-chosen, Number(chosen)];
    const power = 10 ** Math.floor(Math.log10((high - low) / 200));
    const step = [1, 2, 5, 10].find((each) => each * power >= (high - low) / 200 - 1e-12) * power;
    this.decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const rounded = (value) => Number((value * step).toFixed(this.decimals));
    this.range = [rounded(Math.floor(low / step + 1e-9)), rounded(Math.ceil(high / step - 1e-9))];
    [slider.min, slider.max, slider.step] = [...this.range, step.toFixed(this.decimals)];
    slider.value = isNew ? 1 : before;
    this.played = undefined;
  }

  /** f(x) and f′(x) of the chosen RAF at a step and for a group. */
  value(step, group, x) {
    const raf = this.raf;
    if (raf.curves) return interpolated(raf.points, raf.curves[step][group], x);
    const beside = FIXED[raf.beside] ? fixed(raf.beside, x) : [0, 0];
    // the data have as many digits as tell float32 numbers apart
    const [a, b] = [raf.numerator, raf.denominator].map((all) => all[step][group].map(Math.fround));
    return rational(a, b, raf.version, x).map((part, k) => part + beside[k]);
  }

  /** What the RAF is compared with: its name and its function; null for nothing. */
  comparison(group) {
    const chosen = this.of("beside").value;
    if (chosen === "none") return null;
    if (chosen === "first") return { name: "at the start", at: (x) => this.value(0, group, x) };
    const name = chosen === "baseline" ? this.raf.baseline : chosen;
    return { name: NAMES[name], at: (x) => fixed(name, x) };
  }

  /** Draw and read out what the controls say; live: whether screen readers are told. */
  show(live = this.timer ? "off" : "polite") {
    const step = Number(this.step.value), group = Number(this.of("group").value), xs = samples(this.range);
    const other = this.comparison(group), groups = rows(this.raf, step).length;
    const curve = (kind, at) => {
      const both = xs.map(at);
      return { kind, values: [both.map((pair) => pair[0]), both.map((pair) => pair[1])] };
    };
    const curves = other ? [curve("other", other.at)] : [];
    for (let each = 0; each < groups; each++) {
      if (each !== group) curves.push(curve("raf faint", (x) => this.value(step, each, x)));
    }
    curves.push(curve("raf", (x) => this.value(step, group, x)));
    const at = [{ kind: "raf", name: "f", values: this.value(step, group, this.x) }];
    if (other) at.unshift({ kind: "other", name: other.name, values: other.at(this.x) });
    const view = { range: this.range, x: this.x, curves, bounds: this.boundsOf(curves, other), density: this.density(xs) };
    this.toInput = drawPlot(this.find(".plot"), view, at);
    this.describe(step, other, at, live);
    const f = (x) => this.value(step, group, x);
    this.find(".values .wide").replaceChildren(valuesTable(this.range, this.decimals, f, other));
    const lines = formula(this.raf, step, group, this.run);
    this.find(".formula .wide").replaceChildren(element("pre", {}, element("code", {}, lines.join("\n"))));
  }

  /** Of f and f′ as they are shown; while steps are played, of most steps, so that the axes stand still. */
  boundsOf(curves, other) {
    const far = 2 * Math.max(...this.range.map(Math.abs), 2), most = [far, 8];
    if (!this.timer) return most.map((far, panel) => bounds(curves.flatMap((curve) => curve.values[panel]), far));
    const key = `${this.of("site").value} ${other?.name}`;
    if (this.played?.key !== key) {
      const xs = samples(this.range, 61);
      const ofSteps = this.run.steps.map((_, step) =>
        rows(this.raf, step).flatMap((_, group) => xs.map((x) => this.value(step, group, x))).concat(other ? xs.map(other.at) : []));
      const found = most.map((far, panel) => {
        const each = ofSteps.map((pairs) => bounds(pairs.map((pair) => pair[panel]), far));
        const share = (end, part) => each.map((both) => both[end]).sort((a, b) => a - b)[Math.round(part * (each.length - 1))];
        return [share(0, 0.1), share(1, 0.9)];
      });
      this.played = { key, found };
    }
    return this.played.found;
  }

  density(xs) {
    const found = this.raf.density;
    if (!found) return null;
    const width = (found.high - found.low) / (found.values.length - 1);
    return xs.map((x) => {
      const place = (x - found.low) / width, k = Math.floor(place);
      if (place < 0 || k >= found.values.length - 1) return k === found.values.length - 1 ? found.values[k] : 0;
      return found.values[k] + (place - k) * (found.values[k + 1] - found.values[k]);
    });
  }

  describe(step, other, at, live) {
    const now = count(this.run.steps[step]), last = count(this.run.steps[this.run.steps.length - 1]);
    this.find(".step").textContent = `${now} of ${last}`;
    this.step.setAttribute("aria-valuetext", `step ${now} of ${last}`);
    const name = this.raf.kind ?? "RAF";
    const swatch = (kind, text) => element("span", { class: `swatch ${kind}` }, text);
    this.find(".legend").replaceChildren(
      swatch("raf", this.run.steps.length > 1 ? `${name}, step ${now}` : name),
      ...(other ? [swatch("other", other.name)] : []),
      ...(this.raf.density ? [swatch("density", "density of its inputs")] : []),
    );
    const x = digits(this.x, this.decimals);
    this.of("x").setAttribute("aria-valuetext", `x = ${x}`);
    const cells = [["x", x, "x"]];
    for (const { kind, name, values } of [...at].reverse()) {
      const isNamed = name === "f" || !name.includes(" ");
      const [value, slope] = isNamed ? [`${name}(x)`, `${name}′(x)`] : [`${name}`, "its slope"];
      cells.push([value, digits(values[0]), kind], [slope, digits(values[1]), `${kind} slope`]);
    }
    const readout = this.find(".readout");
    readout.setAttribute("aria-live", live);
    const made = cells.map(([name, value, kind]) =>
      element("span", { class: kind }, element("span", { class: "name" }, name), " ", element("b", {}, value), " "));
    readout.replaceChildren(...made);
  }

  play() {
    if (this.step.value === this.step.max) this.step.value = 0;
    const button = this.find(".play");
    button.textContent = "Pause";
    this.timer = setInterval(() => {
      this.step.value = Number(this.step.value) + 1;
      const isLast = this.step.value === this.step.max;
      if (isLast) this.stop();
      this.show(isLast ? "polite" : "off");
    }, (1000 * PLAY_SECONDS) / this.run.steps.length);
    this.show();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.find(".play").textContent = "Play";
    this.played = undefined;
  }
}

for (const root of document.querySelectorAll(".viewer")) new Viewer(root);
