// Circuits as numbers: a graph's nodes and edges, a circuit's columns, edges that pass a filter.
"use strict";

report.circuits = (() => {
  const SLOTS = ["q", "k", "v", "m", "l"];
  const PLACES = 2 ** 20; // more than the edges that are in a page

  // Edges from the largest size down, equal ones in their order. A size's bits and the edge's
  // number make one whole number: to sort numbers takes a tenth of the time of comparing edges.
  function descending(size) {
    const bits = new Uint32Array(size.buffer);
    const keys = Float64Array.from(bits, (value, edge) => value * PLACES + (PLACES - 1 - edge));
    return Uint32Array.from(keys.sort().reverse(), (key) => PLACES - 1 - (key % PLACES));
  }

  // Nodes are numbered as sources are, the logits last; an edge's columns are typed arrays.
  class Graph {
    constructor(data, number) {
      Object.assign(this, { data, number, layers: data.layers, heads: data.heads });
      this.parallel = data.parallel;
      this.perLayer = this.heads + 1;
      this.logits = 1 + this.layers * this.perLayer;
      this.names = ["input"];
      for (let layer = 0; layer < this.layers; layer++) {
        for (let head = 0; head < this.heads; head++) this.names.push(`a${layer}.h${head}`);
        this.names.push(`m${layer}`);
      }
      this.names.push("logits");
      this.numbers = new Map(this.names.map((name, i) => [name, i]));
      this.circuits = data.circuits.map((about) => ({ about, name: about.name }));
    }

    layerOf(node) {
      if (node === 0) return -1;
      return node === this.logits ? this.layers : Math.floor((node - 1) / this.perLayer);
    }

    columnOf(node) {
      return node === 0 || node === this.logits ? -1 : (node - 1) % this.perLayer;
    }

    isMlp(node) {
      return this.columnOf(node) === this.heads;
    }

    async load() {
      const [source, reader] = await Promise.all(
        [this.data.source, this.data.reader].map(report.unpack),
      );
      const count = source.length;
      Object.assign(this, {
        count,
        source,
        target: new Uint16Array(count),
        slot: new Uint8Array(count),
      });
      this.reach = new Int8Array(count);
      const ofLayer = 3 * this.heads + 1;
      for (let edge = 0; edge < count; edge++) {
        const layer = Math.floor(reader[edge] / ofLayer);
        const place = reader[edge] % ofLayer;
        const first = 1 + layer * this.perLayer;
        if (layer >= this.layers) {
          [this.target[edge], this.slot[edge]] = [this.logits, 4];
        } else if (place === ofLayer - 1) {
          [this.target[edge], this.slot[edge]] = [first + this.heads, 3];
        } else {
          this.target[edge] = first + (place % this.heads);
          this.slot[edge] = Math.floor(place / this.heads);
        }
        this.reach[edge] = this.layerOf(this.target[edge]) - this.layerOf(source[edge]);
      }
      await Promise.all(this.circuits.map((circuit) => this.loadCircuit(circuit)));
    }

    async loadCircuit(circuit) {
      const { columns, spans } = circuit.about;
      for (const [name, text] of Object.entries(columns)) circuit[name] = await report.unpack(text);
      const bits = circuit.kept;
      circuit.kept = new Uint8Array(this.count);
      for (let edge = 0; edge < this.count; edge++) {
        circuit.kept[edge] = (bits[edge >> 3] >> (edge & 7)) & 1;
      }
      circuit.spans = {};
      for (const [name, text] of Object.entries(spans || {})) {
        circuit.spans[name] = await report.unpack(text);
      }
      circuit.orders = new Map();
    }

    edgeName(edge) {
      const slot = this.slot[edge] < 3 ? `<${SLOTS[this.slot[edge]]}>` : "";
      return `${this.names[this.source[edge]]}->${this.names[this.target[edge]]}${slot}`;
    }

    // The number in the page of `m0->a5.h1<k>`; -1 if the graph has no such edge, or the page not.
    edgeNumber(name) {
      const [, source, target, letter] = /^(\S+?)->([^\s<]+)(?:<([qkv])>)?$/.exec(name) ?? [];
      const [from, to] = [this.numbers.get(source), this.numbers.get(target)];
      if (from === undefined || to === undefined) return -1;
      const slot = letter ? SLOTS.indexOf(letter) : to === this.logits ? 4 : 3;
      for (let edge = 0; edge < this.count; edge++) {
        if (this.source[edge] !== from || this.target[edge] !== to) continue;
        if (this.slot[edge] === slot) return edge;
      }
      return -1;
    }

    scores(circuit, span) {
      return (span && circuit.spans[span]) || circuit.score || null;
    }

    // {order: edges from the largest |score| down, largest}; without scores the circuit's first.
    ranked(circuit, span = "") {
      if (!circuit.orders.has(span)) {
        const scores = this.scores(circuit, span);
        const size = new Float32Array(this.count);
        for (let edge = 0; edge < this.count; edge++) {
          size[edge] = scores ? Math.abs(scores[edge]) : circuit.kept[edge];
        }
        const order = descending(size);
        circuit.orders.set(span, { order, size, largest: size[order[0]] || 1 });
      }
      return circuit.orders.get(span);
    }

    // Of two circuits: an edge's size is the larger of its shares of either's largest score.
    rankedPair(circuit, other, span) {
      const key = `${span} ${other.name}`;
      if (!circuit.orders.has(key)) {
        const [a, b] = [this.ranked(circuit, span), this.ranked(other, span)];
        const size = new Float32Array(this.count);
        for (let edge = 0; edge < this.count; edge++) {
          size[edge] = Math.max(a.size[edge] / a.largest, b.size[edge] / b.largest);
        }
        const order = descending(size);
        circuit.orders.set(key, { order, size, largest: size[order[0]] || 1 });
      }
      return circuit.orders.get(key);
    }

    // Edges that pass the filter, strongest first: at most `filter.most`, and how many pass in all.
    passing(circuit, other, filter) {
      const { order, size, largest } = other
        ? this.rankedPair(circuit, other, filter.span)
        : this.ranked(circuit, filter.span);
      const scores = this.scores(circuit, filter.span);
      const theirs = other && this.scores(other, filter.span);
      const edges = [];
      let passed = 0;
      for (let i = 0; i < order.length; i++) {
        const edge = order[i];
        const [here, there] = [circuit.kept[edge], other ? other.kept[edge] : 0];
        if (other) {
          if (!here && !there) continue;
          if (!filter.parts[here && there ? "both" : here ? "here" : "there"]) continue;
        } else if (!here && !filter.all) continue;
        if (!filter.slots[this.slot[edge]]) continue;
        const holder = other && !here ? other : circuit;
        const score = holder === other ? theirs?.[edge] : scores?.[edge];
        if (score !== undefined && !(score < 0 ? filter.minus : filter.plus)) continue;
        if (filter.stable && (holder.frequency?.[edge] ?? 0) < filter.stable * 10000) continue;
        if (this.reach[edge] < filter.reach) continue;
        if (this.layerOf(this.source[edge]) < filter.from) continue;
        if (this.layerOf(this.target[edge]) > filter.to) continue;
        if (filter.moved && !filter.moved[edge]) continue;
        passed++;
        if (edges.length < filter.most) edges.push(edge);
      }
      return { edges, passed, size, largest };
    }

    // (nodes,) sum of |score| of a circuit's edges at a node, of the largest; 0: not in it.
    nodeStrengths(circuit) {
      if (!circuit.strengths) {
        const { size } = this.ranked(circuit);
        const strengths = new Float64Array(this.names.length);
        for (let edge = 0; edge < this.count; edge++) {
          if (!circuit.kept[edge]) continue;
          strengths[this.source[edge]] += size[edge];
          strengths[this.target[edge]] += size[edge];
        }
        const heads = strengths.slice(1, this.logits);
        const largest = Math.max(...heads) || 1;
        circuit.strengths = strengths.map((value) => Math.min(1, value / largest));
      }
      return circuit.strengths;
    }
  }

  return { Graph, SLOTS };
})();
