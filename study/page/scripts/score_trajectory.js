// A chart: the score of an edge at every checkpoint, with intervals, filled where a circuit has it.
"use strict";

report.trajectory = (() => {
  const { el, svg } = report;
  const [WIDTH, HEIGHT, MARGIN] = [300, 110, 14];

  // An edge's score and interval in a circuit; without one both ends are the score.
  function pointOf(circuit, edge) {
    const value = circuit.score?.[edge] ?? 0;
    const isKnown = circuit.low && !Number.isNaN(circuit.low[edge]);
    const low = isKnown ? circuit.low[edge] : value;
    const high = isKnown ? circuit.high[edge] : value;
    return { circuit, value, low, high, isIn: circuit.kept[edge] === 1 };
  }

  // {x, y}: where the i-th of these points and a value lie in the chart.
  function scalesOf(points) {
    const low = Math.min(0, ...points.map((point) => point.low));
    const high = Math.max(0, ...points.map((point) => point.high));
    const [across, up] = [WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN];
    return {
      x: (i) => MARGIN + (i * across) / (points.length - 1),
      y: (value) => HEIGHT - MARGIN - ((value - low) / (high - low || 1)) * up,
    };
  }

  function marker(point, x, y, isNow) {
    const words = `${point.circuit.name}: ${report.numbers.inOneLine(point)}`;
    const look = { cx: x, cy: y, r: isNow ? 5 : 3.6, class: point.isIn ? "in" : "out" };
    return svg("circle", look, svg("title", {}, words));
  }

  // A checkpoint's step under its marker; the first and the last begin and end at the margins.
  function stepLabel(step, x, isFirst, isLast) {
    const y = HEIGHT - 1;
    if (isFirst) return svg("text", { x: 2, y, "text-anchor": "start" }, step);
    if (isLast) return svg("text", { x: WIDTH - 2, y, "text-anchor": "end" }, step);
    return svg("text", { x, y, "text-anchor": "middle" }, step);
  }

  function marksOf(points, { x, y }, now) {
    return points.flatMap((point, i) => [
      svg("line", { class: "bar", x1: x(i), x2: x(i), y1: y(point.low), y2: y(point.high) }),
      marker(point, x(i), y(point.value), point.circuit === now),
      stepLabel(String(point.circuit.about.step), x(i), i === 0, i === points.length - 1),
    ]);
  }

  // The chart of an edge over these checkpoints, of which one is shown now; null for a single one.
  function make(checkpoints, edge, now) {
    if (checkpoints.length < 2) return null;
    const points = checkpoints.map((circuit) => pointOf(circuit, edge));
    const scales = scalesOf(points);
    const ends = points.map((point, i) => `${scales.x(i)},${scales.y(point.value)}`);
    const zero = scales.y(0);
    const chart = svg(
      "svg",
      {
        class: "trajectory",
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": "score at every checkpoint",
      },
      svg("line", { class: "zero", x1: MARGIN, x2: WIDTH - MARGIN, y1: zero, y2: zero }),
      svg("path", { d: `M${ends.join("L")}` }),
      ...marksOf(points, scales, now),
    );
    const words = "Score at every checkpoint; filled: in the circuit";
    return el("figure", {}, chart, el("figcaption", {}, words));
  }

  return { make };
})();
