// The explorer's controls as they must look for what is chosen: lists, sliders, filters, footnote.
"use strict";

report.controls = (() => {
  const { byId, el, fillSelect } = report;
  const { count, percent } = report.numbers;
  const IN_DETAILS = ["all", "from", "to", "reach", "stable", "span", "moved"];

  function check(boxes, isChecked) {
    boxes.querySelectorAll("input").forEach((box, i) => {
      box.checked = isChecked(box, i);
    });
  }

  // ------------------------------------------------------------- circuits and checkpoints

  const stepName = (circuit) =>
    circuit.about.step === null ? circuit.name : `step ${circuit.about.step}`;

  // Rows of a list; a checkpoint has its step beside its name where all are of one run.
  function listed(circuits) {
    const checkpoints = circuits.filter((circuit) => circuit.about.step !== null);
    const isOneRun = new Set(checkpoints.map((circuit) => circuit.about.folder)).size <= 1;
    return circuits.map((circuit) => {
      const { name } = circuit;
      const hasStep = isOneRun && circuit.about.step !== null;
      return [name, hasStep ? `${name} (${stepName(circuit)})` : name];
    });
  }

  function syncCircuits({ graph, circuit, other }, graphs) {
    const all = graphs.flatMap((member) => listed(member.circuits));
    const others = listed(graph.circuits.filter((candidate) => candidate !== circuit));
    fillSelect(byId("circuit"), all, circuit.name);
    fillSelect(byId("other"), [["", "no other"], ...others], other?.name ?? "");
  }

  function syncSteps({ graph, circuit, sequence }) {
    byId("steps").hidden = sequence.length < 2;
    if (sequence.length < 2) return;
    const now = sequence.indexOf(circuit);
    byId("step").max = sequence.length - 1;
    byId("step").value = now;
    byId("step").setAttribute("aria-valuetext", stepName(circuit));
    const names = sequence.map((checkpoint, i) => {
      const style = `left:${(100 * i) / (sequence.length - 1)}%`;
      return el("span", { class: i === now ? "now" : "", style }, String(checkpoint.about.step));
    });
    byId("step-names").replaceChildren(...names);
    byId("step-change").textContent = now ? change(graph, sequence[now - 1], circuit) : "first";
  }

  function change(graph, before, circuit) {
    const { both } = report.facts.pairOf(graph, before, circuit);
    const [come, gone] = [circuit.about.size - both, before.about.size - both];
    return `+${come} −${gone} since ${stepName(before)}`;
  }

  // ------------------------------------------------------------- edges and filters

  function syncEdges({ circuit, other, filter, passing }) {
    const { edges, passed } = passing;
    byId("edges").value = report.edgeSlider.position(filter.most, passed);
    byId("edges-shown").textContent = `${count(edges.length)} of ${count(passed)}`;
    byId("all").checked = filter.all;
    byId("all").closest("label").hidden = other !== null;
    check(byId("slots"), (_, i) => filter.slots[i]);
    check(byId("signs"), (box) => (box.value === "+" ? filter.plus : filter.minus));
    byId("signs").hidden = !circuit.score;
    byId("parts").hidden = other === null;
    check(byId("parts"), (box) => filter.parts[box.value]);
  }

  const layersCrossed = (i) => (i ? `${i} layer${i > 1 ? "s" : ""}` : "any");

  function syncLayers({ graph, filter }) {
    const numbers = [...Array(graph.layers + 2).keys()].map(String);
    const layers = numbers.slice(0, graph.layers).map((layer) => [layer, layer]);
    const logits = [String(graph.layers), "logits"];
    fillSelect(byId("from"), [["-1", "input"], ...layers], String(filter.from));
    fillSelect(byId("to"), [...layers, logits], String(filter.to));
    const crossed = numbers.map((number, i) => [number, layersCrossed(i)]);
    fillSelect(byId("reach"), crossed, String(filter.reach));
  }

  function syncFilters({ graph, circuit, filter }) {
    byId("stable-label").hidden = !circuit.frequency;
    byId("stable").value = Math.round(100 * filter.stable);
    byId("stable-shown").textContent = percent(filter.stable);
    const spans = Object.keys(circuit.spans);
    byId("span-label").hidden = !spans.length;
    const rows = [["", "all of it"], ...spans.map((name) => [name, name])];
    fillSelect(byId("span"), rows, filter.span);
    const { moved } = graph.data;
    byId("moved-label").hidden = !moved;
    byId("moved").checked = filter.moved !== null;
    if (!moved) return;
    const rate = `false-discovery rate ${percent(moved.rate)}`;
    byId("moved-label").title = `From ${moved.from} to ${moved.to}, ${rate}`;
  }

  // ------------------------------------------------------------- all of them

  // What part of the graph and the circuit is in the page, and what intervals are.
  function footnote({ graph, circuit }) {
    const { about } = circuit;
    const isWhole = graph.count >= graph.data.edges;
    const shares = `${count(graph.count)} of the graph's ${count(graph.data.edges)}`;
    const whole = `All ${count(graph.count)} edges of the graph are in this page.`;
    const words = [isWhole ? whole : `The strongest ${shares} edges are in this page.`];
    const here = circuit.kept.reduce((sum, isKept) => sum + isKept, 0);
    if (here < about.size) words.push(`Of this circuit's ${count(about.size)} ${count(here)} are.`);
    if (about.resamples) {
      const drawn = `${count(about.resamples)} resamples of the ${about.examples} examples`;
      words.push(`95 % intervals, by ${drawn}.`);
    }
    if (!circuit.score) words.push("This file has no scores: all edges count alike.");
    return words.join(" ");
  }

  // Set every control by what is shown (`state`) and what is chosen and not usual (`choice`).
  function sync(state, graphs, choice) {
    syncCircuits(state, graphs);
    syncSteps(state);
    syncEdges(state);
    syncLayers(state);
    syncFilters(state);
    byId("explorer-foot").textContent = footnote(state);
    const set = IN_DETAILS.filter((name) => choice[name]);
    byId("filters-set").textContent = set.length ? `${set.length} set` : "";
  }

  return { sync };
})();
