// Edges from the strongest down, of a circuit or of two, and how strong that makes every node.
"use strict";

report.ranking = (() => {
  const PLACES = 2 ** 20; // more than the edges that are in a page
  const rankings = new WeakMap(); // circuit -> part of the text, or that and another circuit
  const strengths = new WeakMap(); // circuit -> its nodes' strengths

  // Edges from the largest size down, equal ones in their order. A size's bits and the edge's
  // number make one whole number: to sort numbers takes a tenth of the time of comparing edges.
  function descending(size) {
    const bits = new Uint32Array(size.buffer);
    const keys = Float64Array.from(bits, (value, edge) => value * PLACES + (PLACES - 1 - edge));
    return Uint32Array.from(keys.sort().reverse(), (key) => PLACES - 1 - (key % PLACES));
  }

  // {order, size, largest} of edges with these sizes.
  function rankingBy(count, sizeOf) {
    const size = new Float32Array(count);
    for (let edge = 0; edge < count; edge++) size[edge] = sizeOf(edge);
    const order = descending(size);
    return { order, size, largest: size[order[0]] || 1 };
  }

  // What is kept of a circuit under a key, made when it is first wanted.
  function kept(circuit, key, make) {
    if (!rankings.has(circuit)) rankings.set(circuit, new Map());
    const ofCircuit = rankings.get(circuit);
    if (!ofCircuit.has(key)) ofCircuit.set(key, make());
    return ofCircuit.get(key);
  }

  // An edge's size is its |score|; without scores the circuit's edges come first.
  function ofOne(graph, circuit, span = "") {
    return kept(circuit, span, () => {
      const scores = graph.scores(circuit, span);
      const sizeOf = scores ? (edge) => Math.abs(scores[edge]) : (edge) => circuit.kept[edge];
      return rankingBy(graph.count, sizeOf);
    });
  }

  // Of two circuits: an edge's size is the larger of its shares of either's largest score.
  function ofTwo(graph, circuit, other, span) {
    return kept(circuit, `${span} ${other.name}`, () => {
      const [a, b] = [ofOne(graph, circuit, span), ofOne(graph, other, span)];
      const sizeOf = (edge) => Math.max(a.size[edge] / a.largest, b.size[edge] / b.largest);
      return rankingBy(graph.count, sizeOf);
    });
  }

  const of = (graph, circuit, other, span) =>
    other ? ofTwo(graph, circuit, other, span) : ofOne(graph, circuit, span);

  // (nodes,) sum of |score| of a circuit's edges at a node, of the largest; 0: not in it.
  function nodeStrengths(graph, circuit) {
    if (!strengths.has(circuit)) strengths.set(circuit, summedAtNodes(graph, circuit));
    return strengths.get(circuit);
  }

  function summedAtNodes(graph, circuit) {
    const { size } = ofOne(graph, circuit);
    const sums = new Float64Array(graph.names.length);
    for (let edge = 0; edge < graph.count; edge++) {
      if (!circuit.kept[edge]) continue;
      sums[graph.source[edge]] += size[edge];
      sums[graph.target[edge]] += size[edge];
    }
    const largest = Math.max(...sums.slice(1, graph.logits)) || 1; // of heads and MLPs
    return sums.map((value) => Math.min(1, value / largest));
  }

  return { of, nodeStrengths };
})();
