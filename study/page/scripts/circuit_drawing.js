// A scene on the canvas: names of layers, edges as curves, nodes as boxes above them.
"use strict";

report.drawing = (() => {
  // Colours of the page's style, so that light and dark have their own.
  function palette(element) {
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = ["ink", "soft", "faint", "card", "cell", "accent", "come", "gone"];
    return {
      ...Object.fromEntries(names.map((name) => [name, colour(name)])),
      slots: report.SLOTS.map((slot) => colour(`slot-${slot}`)),
      parts: {
        here: colour("part-here"),
        there: colour("part-there"),
        both: colour("part-both"),
      },
      groups: [0, 1, 2, 3, 4, 5].map((i) => colour(`group-${i}`)),
    };
  }

  // Draw what scene.js made; the canvas takes the size of the scene.
  function draw(canvas, scene) {
    const context = cleared(canvas, scene.place);
    drawLayerNames(context, scene);
    for (let i = scene.strokes.length - 1; i >= 0; i--) strokeEdge(context, scene.strokes[i]);
    for (const stroke of scene.above) strokeEdge(context, stroke);
    for (let node = 0; node < scene.graph.names.length; node++) drawNode(context, scene, node);
    context.globalAlpha = 1;
  }

  function cleared(canvas, place) {
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
    return context;
  }

  function drawLayerNames(context, { graph, place, colours }) {
    context.globalAlpha = 0.8;
    context.fillStyle = colours.soft;
    context.font = "10px system-ui, sans-serif";
    const every = place.pitch < 15 ? 4 : 1;
    for (let layer = 0; layer < graph.layers; layer += every) {
      const y = (graph.layers + 0.5 - layer) * place.pitch;
      context.fillText(String(layer), place.left / 2 - 3, y);
    }
  }

  // ------------------------------------------------------------- edges

  function strokeEdge(context, { points, colour, alpha, width, dashed }) {
    context.beginPath();
    context.moveTo(points[0], points[1]);
    context.bezierCurveTo(points[2], points[3], points[4], points[5], points[6], points[7]);
    context.strokeStyle = colour;
    context.globalAlpha = alpha;
    context.lineWidth = width;
    context.setLineDash(dashed ? [5, 4] : []);
    context.stroke();
  }

  // ------------------------------------------------------------- nodes

  function drawNode(context, scene, node) {
    const box = scene.place.boxes[node];
    const corner = [box.x - box.width / 2, box.y - box.height / 2];
    context.beginPath();
    context.roundRect(...corner, box.width, box.height, Math.min(5, box.height / 3));
    fillNode(context, scene, node);
    outlineNode(context, scene, node);
    if (node === scene.cursor && node !== scene.node) drawCursor(context, scene);
    writeNode(context, scene, node);
  }

  function fillNode(context, scene, node) {
    context.globalAlpha = 1;
    context.fillStyle = scene.colours.cell;
    context.fill();
    const strength = scene.strengths[node];
    if (strength === 0) return;
    context.globalAlpha = 0.1 + 0.6 * Math.sqrt(strength);
    context.fillStyle = scene.tintOf(node);
    context.fill();
  }

  function outlineNode(context, scene, node) {
    const isInCircuit = scene.strengths[node] > 0;
    const group = scene.groupColourOf(node);
    const isPicked = node === scene.node;
    context.globalAlpha = isInCircuit ? 1 : 0.45;
    context.setLineDash([]);
    context.strokeStyle = isPicked ? scene.colours.ink : (group ?? scene.colours.soft);
    context.lineWidth = isInCircuit ? 1 : 0.7;
    if (isPicked || group !== null) context.lineWidth = 2.4;
    context.stroke();
  }

  function drawCursor(context, scene) {
    context.globalAlpha = 1;
    context.setLineDash([3, 2]);
    context.strokeStyle = scene.colours.ink;
    context.lineWidth = 1.8;
    context.stroke();
  }

  // A node's label, else its name.
  function writeNode(context, scene, node) {
    const { graph, place, colours } = scene;
    const box = place.boxes[node];
    const label = scene.labelOf(node);
    const text = label || shortName(graph, place, node);
    if (!text) return;
    context.globalAlpha = scene.strengths[node] > 0 || label ? 1 : 0.55;
    context.fillStyle = colours.ink;
    const size = Math.min(11, box.height * 0.62);
    context.font = `${label ? 600 : 400} ${size}px system-ui, sans-serif`;
    const room = graph.isBar(node) ? box.width : Math.max(box.width - 4, 10);
    context.fillText(fitted(context, text, room), box.x, box.y + 0.5);
  }

  function shortName(graph, place, node) {
    if (graph.isBar(node)) return graph.names[node];
    if (graph.isMlp(node)) return place.unit > 18 ? `m${graph.layerOf(node)}` : "m";
    return place.unit >= 17 ? String(graph.columnOf(node)) : "";
  }

  // A text, cut where it is wider than its room.
  function fitted(context, text, room) {
    if (context.measureText(text).width <= room) return text;
    let end = text.length;
    while (end > 1 && context.measureText(text.slice(0, end) + "…").width > room) end--;
    return text.slice(0, end) + "…";
  }

  return { palette, draw };
})();
