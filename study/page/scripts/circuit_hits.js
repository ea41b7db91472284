// Which node or edge of the drawing lies under the pointer.
"use strict";

report.hits = (() => {
  const STEPS = 14; // straight pieces of a curve that are looked at

  // The node at a point; -1 for none.
  function nodeAt(place, x, y) {
    const reach = place.narrow ? 4 : 2;
    return place.boxes.findIndex((box) => {
      const isBeside = Math.abs(x - box.x) <= box.width / 2 + reach;
      return isBeside && Math.abs(y - box.y) <= box.height / 2 + reach;
    });
  }

  // The stroke nearest to a point, within `reach` pixels; the first of equally near ones, or null.
  function strokeAt(strokes, x, y, reach) {
    let best = null;
    let nearest = reach * reach;
    for (const stroke of strokes) {
      const [bottom, top] = [stroke.points[1], stroke.points[7]];
      if (y < Math.min(bottom, top) - reach || y > Math.max(bottom, top) + reach) continue;
      const distance = toCurve(x, y, stroke.points);
      if (distance >= nearest) continue;
      best = stroke;
      nearest = distance;
    }
    return best;
  }

  // Squared distance from a point to a curve.
  function toCurve(x, y, points) {
    let nearest = Infinity;
    let before = curvePoint(points, 0);
    for (let i = 1; i <= STEPS; i++) {
      const next = curvePoint(points, i / STEPS);
      nearest = Math.min(nearest, toSegment(x, y, before, next));
      before = next;
    }
    return nearest;
  }

  // The point of a cubic curve at `t` from 0 to 1.
  function curvePoint(p, t) {
    const u = 1 - t;
    const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
    return [a * p[0] + b * p[2] + c * p[4] + d * p[6], a * p[1] + b * p[3] + c * p[5] + d * p[7]];
  }

  function toSegment(x, y, [x1, y1], [x2, y2]) {
    const [dx, dy] = [x2 - x1, y2 - y1];
    const length = dx * dx + dy * dy;
    const along = length ? ((x - x1) * dx + (y - y1) * dy) / length : 0;
    const t = Math.max(0, Math.min(1, along));
    return (x - x1 - t * dx) ** 2 + (y - y1 - t * dy) ** 2;
  }

  return { nodeAt, strokeAt };
})();
