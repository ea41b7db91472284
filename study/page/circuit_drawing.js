// The circuit on a canvas: layers as rows, input below, logits on top; edges as curves by score.
"use strict";

report.drawing = (() => {
  const STEPS = 14; // points of a curve that are looked at to find the edge under the pointer

  // Colours of the page's style, so that light and dark have their own.
  function palette(element) {
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = ["ink", "soft", "faint", "card", "cell", "accent", "come", "gone"];
    const found = Object.fromEntries(names.map((name) => [name, colour(name)]));
    found.slots = ["q", "k", "v", "m", "l"].map((slot) => colour(`slot-${slot}`));
    found.parts = ["here", "there", "both"].map((part) => colour(`part-${part}`));
    found.groups = [0, 1, 2, 3, 4, 5].map((i) => colour(`group-${i}`));
    return found;
  }

  // Where every node is drawn, for a canvas of this width and, if given, height.
  function layout(graph, width, height) {
    const narrow = width < 520;
    const rows = graph.layers + 2;
    const least = graph.layers > 20 ? 20 : 26;
    const most = narrow ? 34 : 50;
    const wanted = (height || (narrow ? 470 : 610)) / rows;
    const pitch = Math.max(least, height ? wanted : Math.min(most, wanted));
    const left = narrow ? 22 : 30;
    const right = narrow ? 20 : 44; // room for the arcs from MLP to MLP
    const unit = (width - left - right) / (graph.heads + 1.8);
    const cell = { width: unit * 0.8, height: Math.min(pitch * 0.44, 22) };
    const boxes = graph.names.map((name, node) => {
      if (node === 0 || node === graph.logits) {
        const y = node ? 0.5 * pitch : (rows - 0.5) * pitch;
        return { x: (left + width) / 2, y, width: width - left - unit * 0.2, height: cell.height };
      }
      const y = (rows - 1.5 - graph.layerOf(node)) * pitch;
      const column = graph.columnOf(node);
      if (!graph.isMlp(node)) {
        const lower = graph.parallel ? 0 : 0.13 * pitch;
        return {
          x: left + unit * (column + 0.5),
          y: y + lower,
          width: cell.width,
          height: cell.height,
        };
      }
      const upper = graph.parallel ? 0 : 0.17 * pitch;
      return {
        x: left + unit * (graph.heads + 1.1),
        y: y - upper,
        width: unit * 1.35,
        height: cell.height,
      };
    });
    const hair = 1 / Math.min(window.devicePixelRatio || 1, 2); // a line of one pixel
    return { boxes, hair, pitch, left, right, unit, width, height: rows * pitch, narrow, cell };
  }

  // The curve of an edge: from the top of its writer to its reader's slot. Edges among MLPs, and
  // between MLPs and the bars of input and logits, are arcs on the right.
  function curve(graph, place, edge) {
    const [source, target, slot] = [graph.source[edge], graph.target[edge], graph.slot[edge]];
    const [from, to] = [place.boxes[source], place.boxes[target]];
    const right = (node) => graph.isMlp(node) || node === 0 || node === graph.logits;
    if (right(source) && right(target)) return arc(graph, place, source, target);
    const shift = slot < 3 ? (slot - 1) * to.width * 0.3 : 0;
    let [x1, x2] = [from.x, to.x + shift];
    const [y1, y2] = [from.y - from.height / 2, to.y + to.height / 2];
    if (source === 0) x1 = x2;
    if (slot === 4) x2 = x1;
    const bend = Math.max(8, Math.abs(y1 - y2) * 0.46);
    return [x1, y1, x1, y1 - bend, x2, y2 + bend, x2, y2];
  }

  function arc(graph, place, source, target) {
    const end = (node, other) => {
      const box = place.boxes[node];
      if (graph.isMlp(node)) return [box.x + box.width / 2, box.y];
      // on a bar: further out, the further the other end is
      const share = Math.abs(graph.layerOf(other) - graph.layerOf(node)) / (graph.layers + 1);
      const x = place.width - place.right + 3 + share * (place.right - 10);
      return [x, box.y + (node === 0 ? -1 : 1) * (box.height / 2)];
    };
    const [[x1, y1], [x2, y2]] = [end(source, target), end(target, source)];
    const share = Math.abs(y1 - y2) / place.height;
    const out = place.width - place.right + 6 + Math.sqrt(share) * place.right * 1.05;
    const bar = (node) => !graph.isMlp(node);
    const [c1, c2] = [
      bar(source) ? [x1, y1 - 10] : [out, y1],
      bar(target) ? [x2, y2 + 10] : [out, y2],
    ];
    return [x1, y1, ...c1, ...c2, x2, y2];
  }

  function trace(context, points) {
    context.beginPath();
    context.moveTo(points[0], points[1]);
    context.bezierCurveTo(points[2], points[3], points[4], points[5], points[6], points[7]);
  }

  function strokeEdge(context, points, look) {
    trace(context, points);
    context.strokeStyle = look.colour;
    context.globalAlpha = look.alpha;
    context.lineWidth = look.width;
    context.setLineDash(look.dashed ? [5, 4] : []);
    context.stroke();
  }

  function rounded(context, box, radius) {
    context.beginPath();
    context.roundRect(box.x - box.width / 2, box.y - box.height / 2, box.width, box.height, radius);
  }

  function shortName(graph, place, node) {
    if (node === 0) return "input";
    if (node === graph.logits) return "logits";
    if (graph.isMlp(node)) return place.unit > 18 ? `m${graph.layerOf(node)}` : "m";
    return place.unit >= 17 ? String(graph.columnOf(node)) : "";
  }

  function drawNode(context, scene, node) {
    const { graph, place, colours } = scene;
    const box = place.boxes[node];
    const strength = scene.strengths[node];
    const radius = Math.min(5, box.height / 3);
    rounded(context, box, radius);
    context.globalAlpha = 1;
    context.fillStyle = colours.cell;
    context.fill();
    if (strength > 0) {
      context.globalAlpha = 0.1 + 0.6 * Math.sqrt(strength);
      context.fillStyle = scene.tint(node);
      context.fill();
    }
    context.globalAlpha = strength > 0 ? 1 : 0.45;
    context.setLineDash([]);
    const group = scene.groupOf(node);
    const special = node === scene.node || group !== null;
    context.strokeStyle = node === scene.node ? colours.ink : (group ?? colours.soft);
    context.lineWidth = special ? 2.4 : strength > 0 ? 1 : 0.7;
    context.stroke();
    if (node === scene.cursor && node !== scene.node) {
      context.globalAlpha = 1;
      context.setLineDash([3, 2]);
      context.strokeStyle = colours.ink;
      context.lineWidth = 1.8;
      context.stroke();
    }
    const label = scene.labelOf(node);
    const text = label || shortName(graph, place, node);
    if (!text) return;
    context.globalAlpha = strength > 0 || label ? 1 : 0.55;
    context.fillStyle = colours.ink;
    const size = Math.min(11, box.height * 0.62);
    context.font = `${label ? 600 : 400} ${size}px system-ui, sans-serif`;
    const bar = node === 0 || node === graph.logits;
    context.fillText(
      fitted(context, text, bar ? box.width : Math.max(box.width - 4, 10)),
      box.x,
      box.y + 0.5,
    );
  }

  function fitted(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let end = text.length;
    while (end > 1 && context.measureText(text.slice(0, end) + "…").width > width) end--;
    return text.slice(0, end) + "…";
  }

  function drawLayerNames(context, scene) {
    const { graph, place, colours } = scene;
    context.globalAlpha = 0.8;
    context.fillStyle = colours.soft;
    context.font = "10px system-ui, sans-serif";
    const every = place.pitch < 15 ? 4 : 1;
    for (let layer = 0; layer < graph.layers; layer += every) {
      const y = (graph.layers + 0.5 - layer) * place.pitch;
      context.fillText(String(layer), place.left / 2 - 3, y);
    }
  }

  function draw(canvas, scene) {
    const { place } = scene;
    const ratio = 1 / place.hair;
    const [width, height] = [Math.round(place.width * ratio), Math.round(place.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      canvas.style.height = `${place.height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, place.width, place.height);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineCap = "round";
    drawLayerNames(context, scene);
    for (let i = scene.strokes.length - 1; i >= 0; i--) {
      strokeEdge(context, scene.strokes[i].points, scene.strokes[i]);
    }
    for (const stroke of scene.above) strokeEdge(context, stroke.points, stroke);
    for (let node = 0; node < scene.graph.names.length; node++) drawNode(context, scene, node);
    context.globalAlpha = 1;
  }

  function nodeAt(place, x, y) {
    return place.boxes.findIndex((box) => {
      const reach = place.narrow ? 4 : 2;
      return (
        Math.abs(x - box.x) <= box.width / 2 + reach &&
        Math.abs(y - box.y) <= box.height / 2 + reach
      );
    });
  }

  // The stroke nearest to a point, within a few pixels; the strongest of equally near ones.
  function strokeAt(strokes, x, y, reach = 6) {
    let [best, nearest] = [null, reach * reach];
    for (const stroke of strokes) {
      const p = stroke.points;
      if (y < Math.min(p[1], p[7]) - reach || y > Math.max(p[1], p[7]) + reach) continue;
      let [px, py] = [p[0], p[1]];
      for (let i = 1; i <= STEPS; i++) {
        const t = i / STEPS;
        const u = 1 - t;
        const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
        const qx = a * p[0] + b * p[2] + c * p[4] + d * p[6];
        const qy = a * p[1] + b * p[3] + c * p[5] + d * p[7];
        const distance = toSegment(x, y, px, py, qx, qy);
        if (distance < nearest) [best, nearest] = [stroke, distance];
        [px, py] = [qx, qy];
      }
    }
    return best;
  }

  function toSegment(x, y, x1, y1, x2, y2) {
    const [dx, dy] = [x2 - x1, y2 - y1];
    const along = dx * dx + dy * dy;
    const t = along ? Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / along)) : 0;
    return (x - x1 - t * dx) ** 2 + (y - y1 - t * dy) ** 2;
  }

  return { palette, layout, curve, draw, nodeAt, strokeAt };
})();
