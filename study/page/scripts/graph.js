// A graph with its circuits as numbers: nodes, edges, and a circuit's columns, an entry an edge.
"use strict";

report.SLOTS = ["q", "k", "v", "m", "l"]; // as what an edge is read; m: by an MLP, l: by the logits

// In which of two circuits an edge or a node is; "" if in neither.
report.partOf = (isHere, isThere) => {
  if (isHere) return isThere ? "both" : "here";
  return isThere ? "there" : "";
};

// Nodes are numbered as sources are, the logits last; an edge's columns are typed arrays.
report.Graph = class {
  constructor(data, number) {
    this.data = data;
    this.number = number;
    this.layers = data.layers;
    this.heads = data.heads;
    this.parallel = data.parallel;
    this.perLayer = this.heads + 1;
    this.logits = 1 + this.layers * this.perLayer;
    this.names = this.nodeNames();
    this.numbers = new Map(this.names.map((name, i) => [name, i]));
    this.circuits = data.circuits.map((about) => ({ about, name: about.name }));
  }

  // ------------------------------------------------------------- nodes

  nodeNames() {
    const names = ["input"];
    for (let layer = 0; layer < this.layers; layer++) {
      for (let head = 0; head < this.heads; head++) names.push(`a${layer}.h${head}`);
      names.push(`m${layer}`);
    }
    names.push("logits");
    return names;
  }

  layerOf(node) {
    if (node === 0) return -1;
    return node === this.logits ? this.layers : Math.floor((node - 1) / this.perLayer);
  }

  // A head's number in its layer, the number of heads for the MLP; -1 for input and logits.
  columnOf(node) {
    return this.isBar(node) ? -1 : (node - 1) % this.perLayer;
  }

  // The node of a layer and column, or the nearest: the input below all layers, the logits above.
  nodeAt(layer, column) {
    if (layer < 0) return 0;
    if (layer >= this.layers) return this.logits;
    return 1 + layer * this.perLayer + Math.max(0, Math.min(this.heads, column));
  }

  isMlp(node) {
    return this.columnOf(node) === this.heads;
  }

  // Input and logits are drawn as bars.
  isBar(node) {
    return node === 0 || node === this.logits;
  }

  // ------------------------------------------------------------- edges

  async load() {
    const columns = [this.data.source, this.data.reader].map(report.unpack);
    const [source, reader] = await Promise.all(columns);
    this.count = source.length;
    this.source = source;
    this.target = new Uint16Array(this.count);
    this.slot = new Uint8Array(this.count);
    this.reach = new Int8Array(this.count); // layers from an edge's source to its target
    for (let edge = 0; edge < this.count; edge++) {
      this.setReader(edge, reader[edge]);
      this.reach[edge] = this.layerOf(this.target[edge]) - this.layerOf(source[edge]);
    }
    await Promise.all(this.circuits.map((circuit) => this.loadCircuit(circuit)));
  }

  // Readers are numbered layer by layer, q, k and v of every head, then the MLP; last the logits.
  setReader(edge, reader) {
    const readersOfLayer = 3 * this.heads + 1;
    const layer = Math.floor(reader / readersOfLayer);
    const place = reader % readersOfLayer;
    const firstHead = 1 + layer * this.perLayer;
    if (layer >= this.layers) {
      this.target[edge] = this.logits;
      this.slot[edge] = 4;
    } else if (place === readersOfLayer - 1) {
      this.target[edge] = firstHead + this.heads;
      this.slot[edge] = 3;
    } else {
      this.target[edge] = firstHead + (place % this.heads);
      this.slot[edge] = Math.floor(place / this.heads);
    }
  }

  // "q", "k" or "v"; "" where an MLP or the logits read.
  inputLetter(edge) {
    return this.slot[edge] < 3 ? report.SLOTS[this.slot[edge]] : "";
  }

  edgeName(edge) {
    const letter = this.inputLetter(edge);
    const slot = letter ? `<${letter}>` : "";
    return `${this.names[this.source[edge]]}->${this.names[this.target[edge]]}${slot}`;
  }

  // The number in the page of `m0->a5.h1<k>`; -1 if the graph has no such edge, or the page not.
  edgeNumber(name) {
    const [, source, target, letter] = /^(\S+?)->([^\s<]+)(?:<([qkv])>)?$/.exec(name) ?? [];
    const [from, to] = [this.numbers.get(source), this.numbers.get(target)];
    if (from === undefined || to === undefined) return -1;
    const slot = letter ? report.SLOTS.indexOf(letter) : to === this.logits ? 4 : 3;
    for (let edge = 0; edge < this.count; edge++) {
      const isBetween = this.source[edge] === from && this.target[edge] === to;
      if (isBetween && this.slot[edge] === slot) return edge;
    }
    return -1;
  }

  // ------------------------------------------------------------- circuits

  async loadCircuit(circuit) {
    const { columns, spans } = circuit.about;
    for (const [name, text] of Object.entries(columns)) circuit[name] = await report.unpack(text);
    circuit.kept = this.unpackBits(circuit.kept);
    circuit.spans = {};
    for (const [name, text] of Object.entries(spans || {})) {
      circuit.spans[name] = await report.unpack(text);
    }
  }

  unpackBits(bits) {
    const flags = new Uint8Array(this.count);
    for (let edge = 0; edge < this.count; edge++) {
      flags[edge] = (bits[edge >> 3] >> (edge & 7)) & 1;
    }
    return flags;
  }

  // (edges,) a circuit's scores in a part of the text, or the whole; null if its file has none.
  scores(circuit, span) {
    return (span && circuit.spans[span]) || circuit.score || null;
  }

  // An edge's score with its interval, which only the whole text has; null without scores.
  scoreOf(circuit, edge, span) {
    const value = this.scores(circuit, span)?.[edge];
    if (value === undefined) return null;
    if (span) return { value };
    return { value, low: circuit.low?.[edge], high: circuit.high?.[edge] };
  }
};
