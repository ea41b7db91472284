// What is chosen, by the names that stand in the address, and what of the circuits that shows.
"use strict";

report.choices = (() => {
  const AT_FIRST = 250; // edges
  const FEWEST = 10; // edges at the slider's left end; at its right end all that pass, at most MOST
  const MOST = 10000; // edges drawn; more are one colour, and take a second
  const NOT_FILTERS = ["circuit", "other"];
  // What is chosen where nothing else is: it has no place in the address. `to` is the last layer.
  const USUAL = {
    other: "",
    edges: String(AT_FIRST),
    all: "",
    slots: "qkvml",
    sign: "+-",
    stable: "0",
    from: "-1",
    reach: "0",
    span: "",
    node: "",
    edge: "",
    moved: "",
    parts: "here,there,both",
  };

  const usualOf = (graph) => ({ ...USUAL, to: String(graph.layers) });
  const between = (low, value, high) => Math.min(high, Math.max(low, value));

  // A choice with other values; empty and usual ones go.
  function changed(choice, values, graph) {
    const usual = usualOf(graph);
    const merged = { ...choice };
    for (const [name, value] of Object.entries(values)) {
      const text = String(value ?? "");
      if (text === "" || text === usual[name]) delete merged[name];
      else merged[name] = text;
    }
    return merged;
  }

  // A choice of circuits alone.
  function unfiltered(choice) {
    const entries = Object.entries(choice);
    return Object.fromEntries(entries.filter(([name]) => NOT_FILTERS.includes(name)));
  }

  // ------------------------------------------------------------- circuits

  const isStep = (circuit) => circuit.about.step !== null;

  // The checkpoints of a circuit's run, in order; none for a circuit that is of no run.
  function checkpoints(graph, circuit) {
    if (!isStep(circuit)) return [];
    const { folder } = circuit.about;
    return graph.circuits.filter((member) => isStep(member) && member.about.folder === folder);
  }

  // A circuit by its name; without one the last checkpoint of the first run, else the first.
  function circuitOf(graphs, name) {
    for (const graph of graphs) {
      const circuit = graph.circuits.find((candidate) => candidate.name === name);
      if (circuit) return { graph, circuit };
    }
    const [graph] = graphs;
    const [first] = graph.circuits;
    return { graph, circuit: checkpoints(graph, first).at(-1) ?? first };
  }

  // ------------------------------------------------------------- filters

  function layer(text, usual) {
    const value = Number(text);
    return Number.isInteger(value) ? value : usual;
  }

  // The filters as numbers and flags, whatever stands in the address.
  function filterOf(chosen, graph, circuit) {
    const parts = chosen.parts.split(",");
    const { moved } = graph.data;
    return {
      most: between(1, Number(chosen.edges) || AT_FIRST, MOST),
      all: chosen.all === "1",
      slots: report.SLOTS.map((slot) => chosen.slots.includes(slot)),
      plus: chosen.sign.includes("+"),
      minus: chosen.sign.includes("-"),
      stable: between(0, Number(chosen.stable) / 100 || 0, 1),
      from: layer(chosen.from, -1),
      to: layer(chosen.to, graph.layers),
      reach: layer(chosen.reach, 0),
      span: Object.hasOwn(circuit.spans, chosen.span) ? chosen.span : "",
      moved: chosen.moved === "1" && moved ? moved.edges : null,
      parts: {
        here: parts.includes("here"),
        there: parts.includes("there"),
        both: parts.includes("both"),
      },
    };
  }

  // What a choice shows: circuits, filters, the edges that pass, the node or the edge picked.
  function stateOf(graphs, choice) {
    const { graph, circuit } = circuitOf(graphs, choice.circuit);
    const chosen = { ...usualOf(graph), ...choice };
    const isOther = (candidate) => candidate.name === chosen.other && candidate !== circuit;
    const other = graph.circuits.find(isOther) ?? null;
    const filter = filterOf(chosen, graph, circuit);
    const edge = graph.edgeNumber(chosen.edge);
    return {
      graph,
      circuit,
      other,
      filter,
      span: filter.span,
      node: graph.numbers.get(chosen.node) ?? null,
      edge: edge >= 0 ? edge : null,
      sequence: checkpoints(graph, circuit),
      passing: new report.EdgeFilter(graph, circuit, other, filter).passing(),
    };
  }

  return { changed, unfiltered, stateOf, FEWEST, MOST };
})();
