// The page of `conclave prepare --report`: for a domain the funnel, lengths, and samples of what was dropped.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = id => document.getElementById(id);
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const count = n => n.toLocaleString("en");
  const percent = share => Number.isFinite(share) ? (100 * share).toFixed(1) + " %" : "–";
  const row = (table, cells, name = "td") => {
    const line = table.appendChild(element("tr"));
    for (const cell of cells) {
      const made = line.appendChild(element(name));
      if (cell instanceof Node) made.append(cell); else made.textContent = cell;
    }
    return line;
  };

  // ---- the funnel ----
  const funnel = domain => {
    const table = byId("funnel");
    table.replaceChildren();
    row(table, ["stage", "documents", "of those before", "of all", "text", "", "dropped"], "th");
    let first = 0, before = 0;
    for (const entry of data.filters) {
      if (entry.domain !== domain) continue;
      const kept = entry.kept.documents;
      if (!first) first = before = kept;
      const bar = element("span", "", "bar");
      bar.style.width = 160 * (first ? kept / first : 0) + "px";
      const reasons = Object.entries(entry.dropped).filter(([, tally]) => tally.documents || tally.bytes)
        .sort((a, b) => b[1].documents - a[1].documents)
        .map(([reason, tally]) => tally.documents ? `${reason} ${count(tally.documents)}` : `${reason} ${count(tally.bytes)} bytes`);
      const line = row(table, [entry.filter, count(kept), percent(kept / before), percent(kept / first),
                               (entry.kept.bytes / 1e6).toFixed(1) + " MB", bar, reasons.join(", ")]);
      line.lastChild.className = "reasons";
      before = kept;
    }
  };

  // ---- lengths: buckets are powers of two ----
  const kinds = {read: "characters, as read", kept: "characters, as kept", tokens: "tokens, of training documents"};
  let plot = null;
  const lengths = (domain, kind) => {
    const entry = data.lengths.find(each => each.domain === domain);
    const counts = entry[kind].counts, from = counts.map((_, k) => 2 ** k);
    byId("note").textContent = `${count(entry[kind].documents)} documents` +
      (entry[kind].of > entry[kind].documents ? `, evenly chosen of ${count(entry[kind].of)}` : "") +
      `; the longest has ${count(entry[kind].longest)} ${kind === "tokens" ? "tokens" : "characters"}.`;
    const table = byId("counts");
    table.replaceChildren();
    row(table, ["from", "to", "documents"], "th");
    counts.forEach((n, k) => row(table, [count(from[k]), count(2 * from[k] - 1), count(n)]));
    if (plot) plot.destroy();
    plot = null;
    if (!counts.length) return;
    plot = new uPlot({
      width: Math.max(320, byId("chart").clientWidth - 2), height: 280,
      scales: {x: {time: false, distr: 1, range: [-0.7, counts.length - 0.3]}, y: {range: [0, Math.max(...counts) * 1.05 || 1]}},
      axes: [{values: (_, ticks) => ticks.map(tick => Number.isInteger(tick) && from[tick] ? count(from[tick]) : "")}, {size: 80}],
      legend: {show: false}, cursor: {show: false},
      series: [{}, {label: "documents", stroke: "#1f77b4", fill: "#1f77b488", paths: uPlot.paths.bars({size: [0.9, 100]}), points: {show: false}}],
    }, [from.map((_, k) => k), counts], byId("chart"));
  };

  // ---- samples ----
  const samples = domain => {
    const box = byId("samples");
    box.replaceChildren();
    for (const rule of data.samples) {
      if (rule.domain !== domain) continue;
      const details = box.appendChild(element("details"));
      details.append(element("summary", `${rule.filter}: ${rule.reason} (${rule.documents.length} shown)`));
      for (const document of rule.documents) {
        const from = [document.id, document.url, document.language && "language " + document.language, count(document.bytes) + " bytes"];
        details.append(element("p", from.filter(Boolean).join(", "), "from"), element("pre", document.text));
      }
    }
    if (!box.childNodes.length) box.append(element("p", "Nothing."));
  };

  byId("title").textContent = "Prepared data of " + data.name;
  for (const domain of data.domains) byId("domain").append(new Option(domain.name, domain.name));
  for (const [kind, title] of Object.entries(kinds)) byId("length").append(new Option(title, kind));
  const show = () => {
    const domain = byId("domain").value;
    funnel(domain);
    lengths(domain, byId("length").value);
    samples(domain);
  };
  byId("domain").addEventListener("change", show);
  byId("length").addEventListener("change", () => lengths(byId("domain").value, byId("length").value));
  window.addEventListener("resize", () => lengths(byId("domain").value, byId("length").value));
  show();
})();
