// An edge beside the drawing: its ends, its score in the circuits shown, and at every checkpoint.
"use strict";

report.edgePanel = (() => {
  const { el } = report;
  const { number, percent, inOneLine } = report.numbers;
  const INPUT_WORDS = ["query", "key", "value"];

  function nodeButton(graph, node) {
    const look = { type: "button", class: "link", "data-node": node };
    return el("button", look, graph.names[node]);
  }

  function ends(graph, edge) {
    const input = INPUT_WORDS[graph.slot[edge]];
    return el(
      "p",
      {},
      nodeButton(graph, graph.source[edge]),
      " is read by ",
      nodeButton(graph, graph.target[edge]),
      input ? ` as ${input}` : "",
    );
  }

  function scoreWords(graph, circuit, edge, span) {
    const score = graph.scoreOf(circuit, edge, span);
    if (score === null) return "no score";
    const unit = circuit.about.metric === "logit_diff" ? "logits" : "nats";
    return `${inOneLine(score)} ${unit}`;
  }

  function resampleWords(frequencies, edge) {
    return frequencies ? `${percent(frequencies[edge] / 10000, 1)} of resamples` : null;
  }

  function circuitRows(graph, circuit, edge, span) {
    return [
      [circuit.name, scoreWords(graph, circuit, edge, span)],
      ["", circuit.kept[edge] ? "in the circuit" : "not in the circuit"],
      ["chosen in", resampleWords(circuit.frequency, edge)],
      ["sign kept in", resampleWords(circuit.sign, edge)],
    ];
  }

  // How the edge changed between the first and the last checkpoint, where that is beyond noise.
  function changeRows({ data: { moved } }, edge) {
    const change = moved?.edges[edge];
    if (!change) return [];
    return [[`${moved.from} → ${moved.to}`, `${change.kind}, q = ${number(change.q, 2)}`]];
  }

  function make({ graph, circuit, other, span, sequence }, edge) {
    const circuits = other ? [circuit, other] : [circuit];
    const rows = circuits.flatMap((member) => circuitRows(graph, member, edge, span));
    return [
      report.panelHead(graph.edgeName(edge)),
      ends(graph, edge),
      report.facts.list([...rows, ...changeRows(graph, edge)]),
      report.trajectory.make(sequence, edge, circuit),
    ];
  }

  return { make };
})();
