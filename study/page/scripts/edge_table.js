// A table of edges: of a circuit its scores, intervals and stability, of two the scores of both.
"use strict";

report.edgeTable = (() => {
  const { el, SLOTS } = report;
  const { percent, withInterval } = report.numbers;
  const MOST_ROWS = 40; // shown at first
  const HEADS = ["edge", "score", "chosen"];
  const HEADS_OF_TWO = ["edge", "here", "there", "in"];
  const TITLES = { chosen: "share of resamples of the examples whose circuit holds the edge" };

  // An edge's name; beside a node that of its other end.
  function nameAt(graph, edge, node) {
    if (node === null) return graph.edgeName(edge);
    const letter = graph.inputLetter(edge);
    if (graph.source[edge] === node) {
      return graph.names[graph.target[edge]] + (letter ? `<${letter}>` : "");
    }
    const writer = graph.names[graph.source[edge]];
    return letter ? `${writer} → ${letter}` : writer;
  }

  // ------------------------------------------------------------- cells

  function nameCell(graph, edge, node) {
    const look = { type: "button", class: "link", "data-edge": edge };
    const button = el("button", look, nameAt(graph, edge, node));
    return el("td", { class: `name slot-${SLOTS[graph.slot[edge]]}` }, button);
  }

  function scoreCell(score, { showsInterval }) {
    const { text, interval } = score ? withInterval(score) : { text: "", interval: "" };
    const attributes = { "data-value": score ? score.value : "", title: interval };
    const small = interval && showsInterval ? el("small", {}, ` ${interval}`) : null;
    return el("td", attributes, text, small);
  }

  function partCell(circuit, other, edge) {
    const part = report.partOf(circuit.kept[edge], other.kept[edge]);
    return el("td", { class: "part" }, part || "–");
  }

  function frequencyCell(circuit, edge) {
    const frequency = circuit.frequency?.[edge];
    if (frequency === undefined) return el("td", { "data-value": "" });
    const share = frequency / 10000;
    return el("td", { "data-value": share }, percent(share));
  }

  // ------------------------------------------------------------- rows

  function row({ graph, circuit, other, span }, edge, node) {
    const cells = [
      nameCell(graph, edge, node),
      scoreCell(graph.scoreOf(circuit, edge, span), { showsInterval: !other }),
    ];
    if (other) {
      cells.push(scoreCell(graph.scoreOf(other, edge, span), { showsInterval: false }));
      cells.push(partCell(circuit, other, edge));
    } else {
      cells.push(frequencyCell(circuit, edge));
    }
    const attributes = { "data-edge": edge, class: circuit.kept[edge] ? "" : "outside" };
    return el("tr", attributes, ...cells);
  }

  function headOf(other) {
    const cells = (other ? HEADS_OF_TWO : HEADS).map((name) =>
      el("th", { scope: "col", title: TITLES[name] }, el("button", { type: "button" }, name)),
    );
    return el("thead", {}, el("tr", {}, ...cells));
  }

  function footOf(count, name) {
    const isLong = count > MOST_ROWS;
    return el(
      "p",
      { class: "table-foot" },
      isLong ? el("button", { type: "button", class: "all-rows" }, `Show all ${count}`) : null,
      el("button", { type: "button", class: "copy" }, "Copy"),
      el("button", { type: "button", class: "csv", "data-name": name }, "CSV"),
    );
  }

  // The table of some edges, at a node or (null) at none; `name` is that of its CSV file.
  function make(state, edges, node, name) {
    if (!edges.length) return el("p", { class: "none" }, "none that pass the filters");
    const rows = edges.map((edge) => row(state, edge, node));
    rows.slice(MOST_ROWS).forEach((hidden) => hidden.classList.add("more"));
    const body = el("tbody", {}, ...rows);
    const table = el("table", { class: "sortable edges" }, headOf(state.other), body);
    report.tables.prepare(table);
    return el("div", { class: "table" }, table, footOf(edges.length, name));
  }

  return { make };
})();
