// Beside the drawing: the edge or the node that is picked, else the circuit, or two of them.
"use strict";

report.panel = (() => {
  const { el, facts } = report;
  const MOST_EDGES = 200; // in the table of the strongest

  function overview(state) {
    const { circuit, other, passing } = state;
    const strongest = passing.edges.slice(0, MOST_EDGES);
    return [
      report.panelTitle(circuit.name, other ? `beside ${other.name}` : ""),
      other ? facts.ofPair(state) : facts.ofCircuit(circuit),
      el("h4", {}, "Strongest edges shown"),
      report.edgeTable.make(state, strongest, null, circuit.name),
    ];
  }

  function partsOf(state, redraw) {
    if (state.edge !== null) return report.edgePanel.make(state, state.edge);
    if (state.node !== null) return report.nodePanel.make(state, state.node, redraw);
    return overview(state);
  }

  // Fill the panel; `redraw` draws anew when the user names a node.
  function show(element, state, redraw) {
    element.replaceChildren(...partsOf(state, redraw).filter((part) => part !== null));
  }

  return { show };
})();
