// Where nodes and edges are drawn: layers as rows, input below, logits on top, MLPs on the right.
"use strict";

report.layout = (() => {
  const NARROW = 520; // pixels under which margins are thin, and rows low
  const SLOT_SHIFT = 0.3; // of a head's width, from where it reads k to where it reads q, and v

  // A box for every node, by its middle, on a canvas of this width and, if given, height.
  function place(graph, width, height) {
    const narrow = width < NARROW;
    const rows = graph.layers + 2;
    const pitch = pitchOf(graph, rows, narrow, height);
    const left = narrow ? 22 : 30;
    const right = narrow ? 20 : 44; // room for the arcs from MLP to MLP
    const unit = (width - left - right) / (graph.heads + 1.8);
    const hair = 1 / Math.min(window.devicePixelRatio || 1, 2); // a line of one pixel
    const grid = { pitch, left, right, unit, width, height: rows * pitch, narrow, hair, rows };
    return { ...grid, boxes: graph.names.map((_, node) => boxOf(graph, grid, node)) };
  }

  // The height of a row.
  function pitchOf(graph, rows, narrow, height) {
    const lowest = graph.layers > 20 ? 20 : 26;
    if (height) return Math.max(lowest, height / rows);
    return Math.max(lowest, Math.min(narrow ? 34 : 50, (narrow ? 470 : 610) / rows));
  }

  function boxOf(graph, grid, node) {
    const { pitch, left, unit, width, rows } = grid;
    const height = Math.min(pitch * 0.44, 22);
    if (graph.isBar(node)) {
      const y = (node === graph.logits ? 0.5 : rows - 0.5) * pitch;
      return { x: (left + width) / 2, y, width: width - left - unit * 0.2, height };
    }
    const y = (rows - 1.5 - graph.layerOf(node)) * pitch;
    if (graph.isMlp(node)) {
      const upper = graph.parallel ? 0 : 0.17 * pitch;
      return { x: left + unit * (graph.heads + 1.1), y: y - upper, width: unit * 1.35, height };
    }
    const lower = graph.parallel ? 0 : 0.13 * pitch;
    const x = left + unit * (graph.columnOf(node) + 0.5);
    return { x, y: y + lower, width: unit * 0.8, height };
  }

  // The curve of an edge as x, y of its four points: from the top of its writer to its reader's
  // slot. Edges among MLPs, and between MLPs and the bars, are arcs on the right.
  function curve(graph, place, edge) {
    const [source, target, slot] = [graph.source[edge], graph.target[edge], graph.slot[edge]];
    const isRight = (node) => graph.isMlp(node) || graph.isBar(node);
    if (isRight(source) && isRight(target)) return arc(graph, place, source, target);
    const [from, to] = [place.boxes[source], place.boxes[target]];
    const shift = graph.inputLetter(edge) ? (slot - 1) * to.width * SLOT_SHIFT : 0;
    const readAt = target === graph.logits ? from.x : to.x + shift;
    const writtenAt = source === 0 ? readAt : from.x; // bars write and read anywhere
    const [bottom, top] = [from.y - from.height / 2, to.y + to.height / 2];
    const bend = Math.max(8, Math.abs(bottom - top) * 0.46);
    return [writtenAt, bottom, writtenAt, bottom - bend, readAt, top + bend, readAt, top];
  }

  function arc(graph, place, source, target) {
    const [x1, y1] = arcEnd(graph, place, source, target);
    const [x2, y2] = arcEnd(graph, place, target, source);
    const share = Math.abs(y1 - y2) / place.height;
    const outmost = place.width - place.right + 6 + Math.sqrt(share) * place.right * 1.05;
    const bend1 = graph.isBar(source) ? [x1, y1 - 10] : [outmost, y1];
    const bend2 = graph.isBar(target) ? [x2, y2 + 10] : [outmost, y2];
    return [x1, y1, ...bend1, ...bend2, x2, y2];
  }

  // On a bar an arc ends the further out, the further its other end is.
  function arcEnd(graph, place, node, other) {
    const box = place.boxes[node];
    if (graph.isMlp(node)) return [box.x + box.width / 2, box.y];
    const share = Math.abs(graph.layerOf(other) - graph.layerOf(node)) / (graph.layers + 1);
    const x = place.width - place.right + 3 + share * (place.right - 10);
    return [x, box.y + (node === 0 ? -1 : 1) * (box.height / 2)];
  }

  return { place, curve };
})();
