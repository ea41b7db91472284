// A node beside the drawing: what it is, the user's label and group, what it reads, who reads it.
"use strict";

report.nodePanel = (() => {
  const { el, view, edgeTable } = report;

  function kindOf(graph, node) {
    if (node === 0) return "embeddings";
    if (node === graph.logits) return "output";
    const layer = graph.layerOf(node);
    if (graph.isMlp(node)) return `MLP of layer ${layer}`;
    return `head ${graph.columnOf(node)} of layer ${layer}`;
  }

  // ------------------------------------------------------------- the user's notes

  function field(words, attributes) {
    return el("label", {}, `${words} `, el("input", { maxlength: 40, ...attributes }));
  }

  function groupNames(graph) {
    const groups = Object.values(view.notes(graph.number)).map((note) => note.group);
    return [...new Set(groups.filter(Boolean))];
  }

  // Fields for a node's label and group; `redraw` draws what they change.
  function noteFields(graph, name, redraw) {
    const note = view.notes(graph.number)[name] || {};
    const change = (values) => {
      view.note(graph.number, name, values);
      redraw();
    };
    const label = field("Label", {
      id: "note-label",
      value: note.label || "",
      placeholder: "what it does",
      oninput: (event) => change({ label: event.target.value }),
    });
    const group = field("Group", {
      id: "note-group",
      value: note.group || "",
      list: "group-names",
      placeholder: "a group of nodes",
      oninput: (event) => change({ group: event.target.value }),
    });
    const options = groupNames(graph).map((value) => el("option", { value }));
    const names = el("datalist", { id: "group-names" }, ...options);
    const hint = el("p", { class: "hint" }, "Kept in the file that “Save” writes.");
    return el("div", { class: "note-fields" }, label, group, names, hint);
  }

  // ------------------------------------------------------------- all of it

  function make(state, node, redraw) {
    const { graph, circuit, other, filter } = state;
    const name = graph.names[node];
    const all = { ...filter, most: Infinity };
    const { edges } = new report.EdgeFilter(graph, circuit, other, all).passing();
    const incoming = edges.filter((edge) => graph.target[edge] === node);
    const outgoing = edges.filter((edge) => graph.source[edge] === node);
    return [
      report.panelHead(name, kindOf(graph, node)),
      noteFields(graph, name, redraw),
      el("h4", {}, `Reads from ${incoming.length}`),
      edgeTable.make(state, incoming, node, `${name}_incoming`),
      el("h4", {}, `Is read by ${outgoing.length}`),
      edgeTable.make(state, outgoing, node, `${name}_outgoing`),
    ];
  }

  return { make };
})();
