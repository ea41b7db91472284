// The edges that pass the filters of the explorer.
"use strict";

report.EdgeFilter = class {
  // `other` is null where one circuit is shown; `filter` is what choices.js reads of the controls.
  constructor(graph, circuit, other, filter) {
    this.graph = graph;
    this.circuit = circuit;
    this.other = other;
    this.filter = filter;
    this.scores = graph.scores(circuit, filter.span);
    this.otherScores = other && graph.scores(other, filter.span);
  }

  // Edges that pass, strongest first, at most `filter.most`; how many pass in all; their sizes.
  passing() {
    const { graph, circuit, other, filter } = this;
    const { order, size, largest } = report.ranking.of(graph, circuit, other, filter.span);
    const edges = [];
    let passed = 0;
    for (const edge of order) {
      if (!this.passes(edge)) continue;
      passed++;
      if (edges.length < filter.most) edges.push(edge);
    }
    return { edges, passed, size, largest };
  }

  passes(edge) {
    return this.isHeld(edge) && this.isPlaced(edge) && this.isScored(edge);
  }

  // In the circuit, or in the parts that are wanted of two.
  isHeld(edge) {
    const { circuit, other, filter } = this;
    if (!other) return filter.all || circuit.kept[edge] === 1;
    const part = report.partOf(circuit.kept[edge], other.kept[edge]);
    return part !== "" && filter.parts[part];
  }

  // Read as the filter wants it, between the layers that it wants, changed where it wants that.
  isPlaced(edge) {
    const { graph, filter } = this;
    if (!filter.slots[graph.slot[edge]] || graph.reach[edge] < filter.reach) return false;
    if (graph.layerOf(graph.source[edge]) < filter.from) return false;
    if (graph.layerOf(graph.target[edge]) > filter.to) return false;
    return !filter.moved || edge in filter.moved;
  }

  // Of the sign and stability that are wanted, in the circuit that holds it.
  isScored(edge) {
    const { circuit, other, filter } = this;
    const isOthers = other !== null && !circuit.kept[edge];
    const score = (isOthers ? this.otherScores : this.scores)?.[edge];
    if (score !== undefined && !(score < 0 ? filter.minus : filter.plus)) return false;
    const frequency = (isOthers ? other : circuit).frequency?.[edge] ?? 0;
    return !filter.stable || frequency >= filter.stable * 10000;
  }
};
