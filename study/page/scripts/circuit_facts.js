// What a circuit is, and how far two are apart, as lists of names and values beside the drawing.
"use strict";

report.facts = (() => {
  const { el } = report;
  const { number, count, percent } = report.numbers;

  // A list of [name, value]; rows without a value are left out.
  function list(rows) {
    const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
    const items = known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
    return el("dl", { class: "facts-list" }, ...items);
  }

  function overlap({ mean, low, high }) {
    return `${mean.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
  }

  // ------------------------------------------------------------- one circuit

  function sizeWords({ size, selected }) {
    const isPruned = selected && selected !== size;
    return count(size) + (isPruned ? ` after pruning ${count(selected)}` : "");
  }

  function stabilityWords({ noise_floor: floor, stable }) {
    if (!floor) return null;
    if (stable === null) return overlap(floor);
    return `${overlap(floor)} (${stable ? "stable" : "not stable"})`;
  }

  function ofCircuit({ about }) {
    const gap = about.completeness;
    return list([
      ["method", about.method ? `${about.method}, ${about.metric}` : null],
      ["edges", sizeWords(about)],
      ["found on", about.examples ? `${about.examples} examples` : null],
      ["overlap with itself", stabilityWords(about)],
      ["completeness gap", typeof gap === "number" ? percent(gap, 1) : gap],
    ]);
  }

  // ------------------------------------------------------------- two circuits

  // {both, chance}: how many edges two circuits share, and the Jaccard index that chance gives.
  function pairOf({ data, circuits }, circuit, other) {
    return data.pairs[circuits.indexOf(circuit)][circuits.indexOf(other)];
  }

  function jaccard(pair, circuit, other) {
    const union = circuit.about.size + other.about.size - pair.both;
    return union ? pair.both / union : 0;
  }

  function permutationWords(graph, circuit, other) {
    const names = [circuit, other].map(({ name }) => name.split("/").pop());
    const isOfBoth = ({ a, b }) => a !== b && names.includes(a) && names.includes(b);
    const test = graph.data.tested.find(isOfBoth);
    return test && test.p !== null ? `p = ${number(test.p, 2)}` : null;
  }

  // The lower of two circuits' overlaps with themselves.
  function floorWords(circuit, other) {
    const floors = [circuit, other].map(({ about }) => about.noise_floor).filter(Boolean);
    const [lowest] = floors.sort((a, b) => a.mean - b.mean);
    return lowest ? `${overlap(lowest)}, resampled` : null;
  }

  function movedWords({ data: { moved } }, circuit, other) {
    const ends = moved ? [moved.from, moved.to] : [];
    if (!ends.includes(circuit.name) || !ends.includes(other.name)) return null;
    const bounds = `false-discovery rate ${percent(moved.rate)}, ${moved.examples} examples`;
    return `${Object.keys(moved.edges).length} edges of either (${bounds})`;
  }

  function ofPair({ graph, circuit, other }) {
    const pair = pairOf(graph, circuit, other);
    const index = jaccard(pair, circuit, other).toFixed(2);
    const facts = list([
      ["by chance", pair.chance.toFixed(3)],
      ["with itself", floorWords(circuit, other)],
      ["permutation test", permutationWords(graph, circuit, other)],
      ["only here", count(circuit.about.size - pair.both)],
      ["in both", count(pair.both)],
      ["only there", count(other.about.size - pair.both)],
      ["changed beyond noise", movedWords(graph, circuit, other)],
    ]);
    return el("div", {}, el("p", { class: "big" }, el("b", {}, index), " Jaccard of edges"), facts);
  }

  return { list, ofCircuit, ofPair, pairOf };
})();
