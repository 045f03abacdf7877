// The page of `conclave compare`: curves on a canvas, and the tables of the comparison.
//
// Curves are kept whole and packed; what is drawn is, for each column of pixels in view, the least and the greatest value of
// each run, in the order in which they came. So a zoom shows more, and no number of points slows the canvas down.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = id => document.getElementById(id);
  const colours = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17857e", "#8c564b", "#c2369a", "#5a6a00", "#3d3d99"];
  const groupIndex = new Map(data.groups.map((group, i) => [group.letter, i]));
  const colourOf = group => colours[group % colours.length];
  const dashes = [[], [6, 3], [2, 3], [9, 3, 2, 3]];
  const isNumber = Number.isFinite;

  // ---- numbers as text ----
  const fixed = (value, digits) => isNumber(value) ? value.toFixed(digits) : "–";
  const withUnit = value => {
    if (!isNumber(value)) return "–";
    const units = ["", "k", "M", "G", "T", "P", "E", "Z"];
    let i = 0;
    for (; Math.abs(value) >= 999.5 && i + 1 < units.length; ++i) value /= 1000;
    return +value.toPrecision(3) + units[i];
  };
  const hoursText = hours => !isNumber(hours) ? "–" : hours < 1 / 30 ? +(hours * 3600).toPrecision(3) + " s"
    : hours < 2 ? +(hours * 60).toPrecision(3) + " min" : +hours.toPrecision(3) + " h";

  // ---- unpacking ----
  const bytesOf = text => {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; ++i) bytes[i] = binary.charCodeAt(i);
    return bytes;
  };
  const unpackAxis = packed => {
    const out = new Float64Array(packed.n);
    if (packed.floats) return Float64Array.from(new Float32Array(bytesOf(packed.floats).buffer));
    const knots = packed.knots, spans = knots.length - 1;
    if (spans < 1) return out.fill(knots.length ? knots[0] : 0);
    const place = k => Math.floor(k * (packed.n - 1) / spans);
    for (let k = 0; k < spans; ++k)
      for (let i = place(k), end = place(k + 1); i <= end; ++i)
        out[i] = end > place(k) ? knots[k] + (i - place(k)) / (end - place(k)) * (knots[k + 1] - knots[k]) : knots[k];
    return out;
  };
  const axes = data.runs.map(() => ({}));
  const axisOf = (run, name) => {
    const known = axes[run], packed = data.runs[run].axes;
    if (known[name]) return known[name];
    if (name !== "flops") return known[name] = unpackAxis(packed[name]);
    const per = packed.flops_per_token;
    return known.flops = isNumber(per) ? axisOf(run, "tokens").map(tokens => tokens * per) : new Float64Array(0);
  };
  const values = new Map(); // metric -> one Float32Array a run
  const valuesOf = metric => {
    if (values.has(metric.key)) return values.get(metric.key);
    const bytes = bytesOf(byId("curves-" + metric.key).textContent);
    const steps = new Uint16Array(bytes.buffer, 0, bytes.length >> 1);
    let at = 0;
    const runs = metric.scales.map(scale => {
      const out = new Float32Array(scale.n);
      for (let i = 0; i < scale.n; ++i) {
        const q = steps[at++];
        const value = scale.low + q / 65534 * (scale.high - scale.low);
        out[i] = q === 65535 ? NaN : scale.log ? Math.exp(value) : value;
      }
      return out;
    });
    values.set(metric.key, runs);
    return runs;
  };

  // ---- what can be shown ----
  const metrics = data.metrics.map(metric => ({...metric, curve: (run, axis) => ({x: axisOf(run, axis), y: valuesOf(metric)[run]})}));
  const evaluated = (key, title, of) => {
    if (!data.runs.some(run => of(run.evaluations).some(isNumber))) return;
    metrics.push({key, title, sparse: true, curve: (run, axis) => {
      const from = data.runs[run].evaluations, steps = axisOf(run, "step"), x = axisOf(run, axis);
      const points = from.step.map((step, i) => [x[upper(steps, step) - 1], of(from)[i]]).filter(point => isNumber(point[0]) && isNumber(point[1]));
      return {x: Float64Array.from(points, point => point[0]), y: Float32Array.from(points, point => point[1])};
    }});
  };
  // Index of the first value above `limit` in an ascending array.
  const upper = (sorted, limit) => {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (sorted[middle] <= limit) low = middle + 1; else high = middle;
    }
    return low;
  };
  evaluated("held-out", "held-out nll (nats)", e => e.nll);
  evaluated("bits", "held-out bits per byte", e => e.bits_per_byte);
  for (const domain of data.domains) evaluated("held-out-" + domain, "held-out nll: " + domain, e => e.domains[domain] || []);

  const state = {metric: metrics[0], axis: "step", window: 1, logX: false, logY: false, bands: false, range: null,
                 hidden: new Set()};

  // ---- smoothing: the trailing mean of `window` points, as in the tables ----
  const smoothed = new Map();
  const curveOf = run => {
    const key = [state.metric.key, state.axis, state.window, run].join("/");
    if (smoothed.has(key)) return smoothed.get(key);
    let {x, y} = state.metric.curve(run, state.axis);
    const window = state.metric.sparse ? 1 : state.window;
    if (window > 1) {
      const out = new Float32Array(y.length);
      let sum = 0, count = 0;
      for (let i = 0; i < y.length; ++i) {
        if (isNumber(y[i])) { sum += y[i]; ++count; }
        if (i >= window && isNumber(y[i - window])) { sum -= y[i - window]; --count; }
        out[i] = count ? sum / count : NaN;
      }
      y = out;
    }
    if (smoothed.size > 3 * data.runs.length) smoothed.clear(); // of curves that were shown before
    const curve = {x, y};
    smoothed.set(key, curve);
    return curve;
  };

  const shown = () => data.runs.map((_, i) => i).filter(i => !state.hidden.has(i));
  const wholeRange = () => {
    let low = Infinity, high = -Infinity;
    for (const run of shown()) {
      const {x} = curveOf(run);
      if (!x.length) continue;
      low = Math.min(low, state.logX ? x.find(value => value > 0) ?? Infinity : x[0]);
      high = Math.max(high, x[x.length - 1]);
    }
    if (low < high) return [low, high];
    return low === high && low > 0 ? [low / 2, high * 2] : [1, 2];
  };

  // ---- columns ----
  const columnsOf = ([low, high], count) => {
    const edges = new Float64Array(count + 1);
    for (let i = 0; i <= count; ++i)
      edges[i] = state.logX ? low * Math.pow(high / low, i / count) : low + (high - low) * i / count;
    return edges;
  };
  // Two points a column: the least and the greatest value of it, in their order; null where the run has none.
  const extremes = ({x, y}, edges) => {
    const out = new Array(2 * (edges.length - 1)).fill(null);
    let i = upper(x, edges[0]);
    if (i > 0 && x[i - 1] === edges[0]) --i;
    for (let column = 0; column + 1 < edges.length; ++column) {
      const end = column + 2 === edges.length ? upper(x, edges[column + 1]) : lower(x, edges[column + 1], i);
      let least = -1, most = -1;
      for (; i < end; ++i) {
        if (!isNumber(y[i]) || (state.logY && y[i] <= 0)) continue;
        if (least < 0 || y[i] < y[least]) least = i;
        if (most < 0 || y[i] > y[most]) most = i;
      }
      if (least < 0) continue;
      out[2 * column] = y[Math.min(least, most)];
      out[2 * column + 1] = y[Math.max(least, most)];
    }
    return out;
  };
  const lower = (sorted, limit, from) => {
    let i = from;
    while (i < sorted.length && sorted[i] < limit) ++i;
    return i;
  };
  // The curve's value at a place, between its points; null outside.
  const valueAt = ({x, y}, at) => {
    const i = upper(x, at);
    if (i === 0 || (i === x.length && x[i - 1] < at)) return null;
    if (i === x.length || x[i - 1] === at) return isNumber(y[i - 1]) ? y[i - 1] : null;
    const share = (at - x[i - 1]) / (x[i] - x[i - 1]), value = y[i - 1] + share * (y[i] - y[i - 1]);
    return isNumber(value) && !(state.logY && value <= 0) ? value : null;
  };

  // ---- drawing ----
  const chart = byId("chart");
  let plot = null, plotKey = "", lines = [];
  const draw = () => {
    const range = state.range || wholeRange();
    const width = Math.max(320, chart.clientWidth - 2), columns = Math.max(100, Math.round(width - 80));
    const edges = columnsOf(range, columns);
    const runs = shown();
    const x = [], series = [{}], bands = [], table = [x];
    lines = [null];
    if (state.bands) {
      if (state.metric.sparse) // a few points, which columns would miss
        x.push(...[...new Set(runs.flatMap(run => [...curveOf(run).x]))].filter(at => at >= range[0] && at <= range[1]).sort((a, b) => a - b));
      else
        for (let i = 0; i < columns; ++i) x.push((edges[i] + edges[i + 1]) / 2);
      data.groups.forEach((group, g) => {
        const members = runs.filter(run => groupIndex.get(data.runs[run].group) === g);
        if (!members.length) return;
        const curves = members.map(curveOf);
        const mean = [], low = [], high = [];
        for (const at of x) {
          const values = curves.map(curve => valueAt(curve, at)).filter(value => value !== null);
          const all = values.length === curves.length; // a mean of other runs each time would jump
          mean.push(all ? values.reduce((a, b) => a + b, 0) / values.length : null);
          low.push(all ? Math.min(...values) : null);
          high.push(all ? Math.max(...values) : null);
        }
        const first = series.length;
        series.push({stroke: colourOf(g), width: 2}, {stroke: colourOf(g) + "55", width: 1}, {stroke: colourOf(g) + "55", width: 1});
        bands.push({series: [first + 2, first + 1], fill: colourOf(g) + "33"});
        table.push(mean, low, high);
        const name = group.letter + " " + group.label;
        lines.push(name + " (mean)", name + " (least)", name + " (greatest)");
      });
    } else {
      for (let i = 0; i < columns; ++i) {
        const span = edges[i + 1] - edges[i];
        x.push(edges[i] + span * .25, edges[i] + span * .75);
      }
      const seen = new Map();
      const plain = runs.length > 30; // a canvas is slow at dashes
      for (const run of runs) {
        const group = groupIndex.get(data.runs[run].group), nth = seen.get(group) || 0;
        seen.set(group, nth + 1);
        series.push({stroke: colourOf(group), dash: plain ? [] : dashes[nth % dashes.length], width: 1});
        table.push(extremes(curveOf(run), edges));
        lines.push(data.runs[run].group + " " + data.runs[run].name);
      }
    }
    const key = [state.metric.key, state.axis, state.logX, state.logY, state.bands, runs.join(","), width].join("/");
    if (plot && key === plotKey) {
      plot.setData(table, false);
      plot.setScale("x", {min: range[0], max: range[1]});
      return;
    }
    if (plot) plot.destroy();
    plotKey = key;
    const tick = (self, ticks) => ticks.map(value => value === null ? "" : Math.abs(value) >= 1000 ? withUnit(value) : +value.toPrecision(4));
    for (const line of series.slice(1)) Object.assign(line, {spanGaps: true, points: {show: state.metric.sparse === true, size: 5}});
    plot = new uPlot({
      width, height: Math.max(300, Math.min(520, Math.round(window.innerHeight * .55))),
      legend: {show: false},
      cursor: {drag: {x: true, y: false, setScale: false}, points: {show: false}},
      scales: {x: {time: false, distr: state.logX ? 3 : 1, range: (self, low, high) => [low, high]}, y: {distr: state.logY ? 3 : 1}},
      axes: [{label: byId("axis").selectedOptions[0].text, values: tick}, {label: state.metric.title, values: tick, size: 70}],
      series, bands,
      hooks: {
        setSelect: [self => {
          if (self.select.width < 4) return;
          zoomTo(self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x"));
          self.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
        }],
        setCursor: [self => readout(self)],
      },
    }, table, chart);
    plot.setScale("x", {min: range[0], max: range[1]});
    plot.over.addEventListener("dblclick", () => { state.range = null; draw(); });
  };
  let waiting = 0;
  const redraw = () => { if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw(); }); };

  const readout = self => {
    const {idx, top} = self.cursor;
    if (idx === null || idx === undefined) return;
    let best = -1, distance = Infinity;
    for (let s = 1; s < self.data.length; ++s) {
      const value = self.data[s][idx];
      if (value === null) continue;
      const away = Math.abs(self.valToPos(value, "y") - top);
      if (away < distance) { distance = away; best = s; }
    }
    if (best < 0) return;
    byId("readout").textContent = `${lines[best]}: ${+self.data[best][idx].toPrecision(5)} at ${withUnit(self.data[0][idx])} ${state.axis}`;
  };

  // ---- zoom ----
  const zoomTo = (low, high) => {
    const whole = wholeRange();
    low = Math.max(whole[0], low);
    high = Math.min(whole[1], high);
    if (high > low) state.range = low === whole[0] && high === whole[1] ? null : [low, high];
    redraw();
  };
  // Around the middle of the view, on the scale that is shown.
  const zoomBy = (factor, shift) => {
    const forward = state.logX ? Math.log : value => value, back = state.logX ? Math.exp : value => value;
    const [low, high] = (state.range || wholeRange()).map(forward);
    const middle = (low + high) / 2 + shift * (high - low), half = (high - low) / 2 * factor;
    const [least, most] = wholeRange().map(forward);
    const centre = Math.max(least + half, Math.min(most - half, middle));
    zoomTo(back(centre - half), back(centre + half));
  };
  chart.addEventListener("keydown", event => {
    const keys = {"+": [.5, 0], "=": [.5, 0], "-": [2, 0], ArrowLeft: [1, -.25], ArrowRight: [1, .25]};
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "0" || event.key === "Home") { state.range = null; redraw(); }
    else if (keys[event.key]) zoomBy(...keys[event.key]);
    else return;
    event.preventDefault();
  });

  // ---- controls ----
  const longest = Math.max(1, ...data.runs.map(run => run.axes.step.n));
  // 0: none; 100: a tenth of the longest curve.
  const windowOf = position => position === 0 ? 1 : Math.max(2, Math.round(Math.pow(Math.max(2, longest / 10), position / 100)));
  const setSmoothing = () => {
    state.window = windowOf(+byId("smoothing").value);
    byId("smoothing-text").textContent = state.window > 1 ? "mean of " + state.window + " steps" : "off";
  };
  metrics.forEach((metric, i) => byId("metric").add(new Option(metric.title, i)));
  if (!data.runs.some(run => isNumber(run.axes.flops_per_token))) byId("axis").querySelector("[value=flops]").remove();
  byId("metric").addEventListener("change", () => { state.metric = metrics[byId("metric").value]; redraw(); });
  byId("axis").addEventListener("change", () => { state.axis = byId("axis").value; state.range = null; redraw(); });
  byId("smoothing").addEventListener("input", () => { setSmoothing(); redraw(); });
  byId("log-x").addEventListener("change", () => { state.logX = byId("log-x").checked; state.range = null; redraw(); });
  byId("log-y").addEventListener("change", () => { state.logY = byId("log-y").checked; redraw(); });
  byId("bands").addEventListener("change", () => { state.bands = byId("bands").checked; redraw(); });
  byId("reset").addEventListener("click", () => { state.range = null; redraw(); });
  byId("controls").addEventListener("submit", event => event.preventDefault());
  window.addEventListener("resize", redraw);

  // ---- which runs ----
  const boxes = data.runs.map((run, i) => {
    const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("span");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => { box.checked ? state.hidden.delete(i) : state.hidden.add(i); redraw(); });
    swatch.className = "swatch";
    swatch.style.background = colourOf(groupIndex.get(run.group));
    label.title = run.path;
    label.append(box, swatch, run.group + " " + run.name + (run.state === "finished" ? "" : " (" + run.state + ")"));
    byId("runs").append(label);
    return {box, label};
  });
  const setAll = visible => {
    boxes.forEach(({box, label}, i) => {
      if (label.hidden) return;
      box.checked = visible;
      visible ? state.hidden.delete(i) : state.hidden.add(i);
    });
    redraw();
  };
  byId("show-all").addEventListener("click", () => setAll(true));
  byId("hide-all").addEventListener("click", () => setAll(false));
  byId("filter").addEventListener("input", () => {
    const wanted = byId("filter").value.toLowerCase();
    boxes.forEach(({label}) => { label.hidden = !label.textContent.toLowerCase().includes(wanted); });
  });

  // ---- tables ----
  const fill = (id, header, rows) => {
    const table = byId(id);
    if (!rows.length) return table.closest("section").hidden = true;
    const used = header.map((_, c) => rows.some(row => row[c] !== "–"));
    const line = (cells, tag) => {
      const row = document.createElement("tr");
      cells.forEach((cell, c) => {
        if (!used[c]) return;
        const element = document.createElement(tag);
        element.textContent = cell;
        row.append(element);
      });
      return row;
    };
    table.createTHead().append(line(header, "th"));
    const body = table.createTBody();
    for (const row of rows) body.append(line(row, "td"));
  };
  const mean = list => list.length ? list.reduce((a, b) => a + b, 0) / list.length : NaN;
  const target = fixed(data.target_loss, 2);
  const of = (group, get) => data.runs.filter(run => run.group === group.letter).map(get).filter(isNumber);
  fill("groups", ["", "group", "seeds", "held-out nll", "bits/byte", "training nll", "tokens to " + target, "FLOP to " + target,
                  "time to " + target, "tokens/s", "fullest expert"],
    data.groups.map(group => [group.letter, group.label, group.seeds, fixed(mean(of(group, run => run.held_out.nll)), 4),
      fixed(mean(of(group, run => run.held_out.bits_per_byte)), 4), fixed(mean(of(group, run => run.train_nll)), 4),
      withUnit(mean(of(group, run => run.reached?.tokens))), withUnit(mean(of(group, run => run.reached?.flops))),
      hoursText(mean(of(group, run => run.reached?.hours))), withUnit(mean(of(group, run => run.tokens_per_second))),
      fixed(mean(of(group, run => run.expert_imbalance)), 2)]));
  fill("run-table", ["", "run", "state", "seed", "step", "held-out nll", "bits/byte", "training nll", "tokens", "tokens to " + target,
                     "time to " + target, "tokens/s", "memory", "fullest expert"],
    data.runs.map(run => [run.group, run.name, run.state, run.seed, run.step, fixed(run.held_out.nll, 4), fixed(run.held_out.bits_per_byte, 4),
      fixed(run.train_nll, 4), withUnit(run.tokens), withUnit(run.reached?.tokens), hoursText(run.reached?.hours),
      withUnit(run.tokens_per_second), isNumber(run.peak_memory) ? withUnit(run.peak_memory) + "B" : "–", fixed(run.expert_imbalance, 2)]));
  fill("domains", ["", "group", ...data.domains], data.domains.length ? data.groups.map(group => [group.letter, group.label,
    ...data.domains.map(domain => {
      const nll = mean(of(group, run => run.domains[domain]?.nll));
      return isNumber(nll) ? `${nll.toFixed(4)} (${fixed(mean(of(group, run => run.domains[domain]?.bits_per_byte)), 4)} bits/byte)` : "–";
    })]) : []);
  fill("differences", ["affects", "setting", "value", "whose", "written in"], data.differences.flatMap(difference =>
    difference.variants.map((variant, i) => [i ? "" : difference.affects, i ? "" : difference.key, variant.value,
      variant.whose.join(", "), variant.origin])));
  const item = (list, text) => { const entry = document.createElement("li"); entry.textContent = text; byId(list).append(entry); };
  if (data.only_seeds) item("verdicts", data.only_seeds);
  for (const verdict of data.verdicts) item("verdicts", verdict.sentence);
  for (const run of data.runs) for (const mark of run.marks) item("marks", run.name + ": " + mark);
  for (const reason of data.left_out) item("marks", "left out: " + reason);
  byId("marked").hidden = !byId("marks").children.length;
  byId("title").textContent = `${data.runs.length} runs in ${data.groups.length} groups`;

  // A curve of some thousand steps is read better smoothed.
  if (data.window > 1) byId("smoothing").value = Math.round(100 * Math.log(data.window) / Math.log(Math.max(2, longest / 10)));
  setSmoothing();
  draw();
})();
