// The explorer's controls as they must look for what is chosen: lists, slider, filters, footnote.
"use strict";

report.controls = (() => {
  const { el } = report;
  const { panel } = report;
  const FEWEST = 10; // edges at the slider's left end; at its right end all that pass, at most MOST
  const MOST = 10000; // edges drawn; more are one colour, and take a second
  const IN_DETAILS = ["all", "from", "to", "reach", "stable", "span", "moved"];
  const id = (name) => document.getElementById(name);
  const count = (value) => value.toLocaleString("en-US");
  const percent = (share) => `${Math.round(100 * share)} %`;

  function fill(select, rows, value) {
    const options = rows.map(([key, words]) =>
      el("option", { value: key, selected: key === value }, words),
    );
    select.replaceChildren(...options);
    select.value = value;
  }

  function check(boxes, isChecked) {
    boxes.querySelectorAll("input").forEach((box, i) => {
      box.checked = isChecked(box, i);
    });
  }

  // ------------------------------------------------------------- circuits and checkpoints

  const stepName = (circuit) =>
    circuit.about.step === null ? circuit.name : `step ${circuit.about.step}`;

  function listed(circuits) {
    const stepped = circuits.filter((circuit) => circuit.about.step !== null);
    const several = new Set(stepped.map((circuit) => circuit.about.folder)).size > 1;
    return circuits.map((circuit) => {
      const plain = several || circuit.about.step === null;
      return [circuit.name, plain ? circuit.name : `${circuit.name} (${stepName(circuit)})`];
    });
  }

  function syncCircuits({ graph, circuit, other }, graphs) {
    const all = graphs.flatMap((each) => listed(each.circuits));
    const others = listed(graph.circuits.filter((each) => each !== circuit));
    fill(id("circuit"), all, circuit.name);
    fill(id("other"), [["", "no other"], ...others], other?.name ?? "");
  }

  function syncSteps({ graph, circuit, sequence }) {
    id("steps").hidden = sequence.length < 2;
    if (sequence.length < 2) return;
    const now = sequence.indexOf(circuit);
    id("step").max = sequence.length - 1;
    id("step").value = now;
    id("step").setAttribute("aria-valuetext", stepName(circuit));
    const names = sequence.map((each, i) => {
      const left = `left:${(100 * i) / (sequence.length - 1)}%`;
      return el("span", { class: i === now ? "now" : "", style: left }, String(each.about.step));
    });
    id("step-names").replaceChildren(...names);
    id("step-change").textContent = now ? change(graph, sequence[now - 1], circuit) : "first";
  }

  function change(graph, before, circuit) {
    const [a, b] = [graph.circuits.indexOf(before), graph.circuits.indexOf(circuit)];
    const { both } = graph.data.pairs[a][b];
    const [new_, gone] = [circuit.about.size - both, before.about.size - both];
    return `+${new_} −${gone} since ${stepName(before)}`;
  }

  // ------------------------------------------------------------- edges and filters

  // The slider of edges is logarithmic.
  function toSlider(most, passed) {
    const highest = Math.min(passed, MOST);
    if (highest <= FEWEST || most >= highest) return 100;
    const share = Math.log(Math.max(most, FEWEST) / FEWEST) / Math.log(highest / FEWEST);
    return Math.round(100 * share);
  }

  function fromSlider(value, passed) {
    const highest = Math.max(Math.min(passed, MOST), FEWEST);
    if (Number(value) >= 100) return highest;
    const exact = FEWEST * (highest / FEWEST) ** (value / 100);
    return Number(exact.toPrecision(2));
  }

  function syncEdges({ circuit, other, filter, passing }) {
    id("edges").value = toSlider(filter.most, passing.passed);
    id("edges-shown").textContent = `${count(passing.edges.length)} of ${count(passing.passed)}`;
    id("all").checked = filter.all;
    id("all").closest("label").hidden = other !== null;
    check(id("slots"), (_, i) => filter.slots[i]);
    check(id("signs"), (box) => (box.value === "+" ? filter.plus : filter.minus));
    id("signs").hidden = !circuit.score;
    id("parts").hidden = other === null;
    check(id("parts"), (box) => filter.parts[box.value]);
  }

  function syncFilters({ graph, circuit, filter }) {
    const layers = Array.from({ length: graph.layers }, (_, i) => [String(i), String(i)]);
    fill(id("from"), [["-1", "input"], ...layers], String(filter.from));
    fill(id("to"), [...layers, [String(graph.layers), "logits"]], String(filter.to));
    const crossed = Array.from({ length: graph.layers + 2 }, (_, i) => {
      return [String(i), i ? `${i} layer${i > 1 ? "s" : ""}` : "any"];
    });
    fill(id("reach"), crossed, String(filter.reach));
    id("stable-label").hidden = !circuit.frequency;
    id("stable").value = Math.round(100 * filter.stable);
    id("stable-shown").textContent = percent(filter.stable);
    const spans = Object.keys(circuit.spans);
    id("span-label").hidden = !spans.length;
    fill(id("span"), [["", "all of it"], ...spans.map((name) => [name, name])], filter.span);
    const { moved } = graph.data;
    id("moved-label").hidden = !moved;
    id("moved").checked = filter.moved !== null;
    if (!moved) return;
    const rate = `false-discovery rate ${panel.percent(moved.rate)}`;
    id("moved-label").title = `From ${moved.from} to ${moved.to}, ${rate}`;
  }

  function footnote({ graph, circuit }) {
    const { about } = circuit;
    const whole = `All ${count(graph.count)} edges of the graph are in this page.`;
    const shares = `${count(graph.count)} of the graph's ${count(graph.data.edges)}`;
    const part = `The strongest ${shares} edges are in this page.`;
    const words = [graph.count < graph.data.edges ? part : whole];
    const here = circuit.kept.reduce((sum, kept) => sum + kept, 0);
    if (here < about.size) words.push(`Of this circuit's ${count(about.size)} ${count(here)} are.`);
    if (about.resamples) {
      const drawn = `${count(about.resamples)} resamples of the ${about.examples} examples`;
      words.push(`Intervals: central 95 % of ${drawn}.`);
    }
    if (!circuit.score) words.push("This file has no scores: all edges count alike.");
    return words.join(" ");
  }

  // Set every control by what is shown (`state`) and what is chosen and not usual (`choice`).
  function sync(state, graphs, choice) {
    syncCircuits(state, graphs);
    syncSteps(state);
    syncEdges(state);
    syncFilters(state);
    id("explorer-foot").textContent = footnote(state);
    const set = IN_DETAILS.filter((name) => choice[name]);
    id("filters-set").textContent = set.length ? `${set.length} set` : "";
  }

  return { sync, fromSlider, FEWEST, MOST };
})();
