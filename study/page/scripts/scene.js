// What is drawn of a state: a stroke for every edge; for every node its strength, tint and label.
"use strict";

report.scene = (() => {
  const { layout, ranking, view } = report;
  const WIDE = 300; // edges drawn as wide as they are strong; others are hairlines, drawn faster

  // ------------------------------------------------------------- edges

  // Where there are many edges, weak ones are fainter.
  function faintest(count) {
    if (count > 1200) return 0.16;
    return count > 500 ? 0.24 : 0.34;
  }

  function strokeWidth(share, narrow) {
    const root = Math.sqrt(share);
    return narrow ? 0.5 + 2.6 * root : 0.7 + 3.6 * root;
  }

  function colourOf({ graph, circuit, other }, colours, edge) {
    if (!other) return colours.slots[graph.slot[edge]];
    return colours.parts[report.partOf(circuit.kept[edge], other.kept[edge])];
  }

  // A function of an edge and its rank: the edge as it looks where nothing is picked or pointed at.
  function strokesOf(state, place, colours) {
    const { graph, circuit, other, passing, span } = state;
    const scores = graph.scores(circuit, span);
    const otherScores = other && graph.scores(other, span);
    const base = faintest(passing.edges.length);
    return (edge, rank) => {
      const share = passing.size[edge] / passing.largest;
      const isOthers = other !== null && !circuit.kept[edge];
      const score = (isOthers ? otherScores : scores)?.[edge] ?? 1;
      return {
        edge,
        points: layout.curve(graph, place, edge),
        dashed: score < 0,
        colour: colourOf(state, colours, edge),
        width: rank < WIDE ? strokeWidth(share, place.narrow) : place.hair,
        alpha: Math.min(0.95, base + 0.62 * Math.sqrt(share)),
      };
    };
  }

  // {strokes, above}: edges picked or pointed at, and those of such a node, lie above the others,
  // which fade.
  function edgesOf(state, place, colours, pointed) {
    const { graph, passing, node, edge: picked } = state;
    const focus = node ?? pointed.node;
    const fading = focus !== null ? 0.16 : picked !== null ? 0.45 : 1;
    const strokeOf = strokesOf(state, place, colours);
    const strokes = [];
    const above = [];
    passing.edges.forEach((edge, rank) => {
      const stroke = strokeOf(edge, rank);
      const isOfFocus = graph.source[edge] === focus || graph.target[edge] === focus;
      if (edge === picked || edge === pointed.edge) {
        above.push({ ...stroke, alpha: 1, width: stroke.width + 1.6 });
      } else if (isOfFocus) {
        above.push({ ...stroke, alpha: Math.max(0.75, stroke.alpha) });
      } else {
        stroke.alpha *= fading;
        strokes.push(stroke);
      }
    });
    return { strokes, above };
  }

  // Let edges that came since the checkpoint before come, and those that are gone go; `t` from 0
  // to 1.
  function fade(scene, state, before, t) {
    const edgesBefore = new Set(before.edges);
    for (const stroke of [...scene.strokes, ...scene.above]) {
      if (edgesBefore.has(stroke.edge)) continue;
      stroke.alpha *= 0.35 + 0.65 * t;
      stroke.colour = scene.colours.come;
      stroke.width += 2 * (1 - t);
    }
    const edgesNow = new Set(state.passing.edges);
    const gone = before.edges.filter((edge) => !edgesNow.has(edge));
    for (const edge of gone) {
      const share = before.size[edge] / before.largest;
      scene.above.push({
        edge: null,
        points: layout.curve(scene.graph, scene.place, edge),
        dashed: true,
        colour: scene.colours.gone,
        width: strokeWidth(share, scene.place.narrow),
        alpha: (1 - t) * 0.75,
      });
    }
  }

  // ------------------------------------------------------------- nodes

  // Of two circuits a node is as strong as it is in either.
  function strengthsOf({ graph, circuit, other }) {
    const own = ranking.nodeStrengths(graph, circuit);
    if (!other) return own;
    const others = ranking.nodeStrengths(graph, other);
    return own.map((value, node) => Math.max(value, others[node]));
  }

  // The colour that a node is filled with, more or less of it.
  function tintOf({ graph, circuit, other }, colours, node) {
    if (!other) return colours.accent;
    const isHere = ranking.nodeStrengths(graph, circuit)[node] > 0;
    const isThere = ranking.nodeStrengths(graph, other)[node] > 0;
    return colours.parts[report.partOf(isHere, isThere)];
  }

  // Group of nodes -> its colour, from the user's notes.
  function groupColours(notes, colours) {
    const groups = Object.values(notes).map((note) => note.group);
    const names = [...new Set(groups.filter(Boolean))].sort();
    return new Map(names.map((name, i) => [name, colours.groups[i % colours.groups.length]]));
  }

  // ------------------------------------------------------------- both

  // `pointed` is the {node, edge} under the pointer, `cursor` the keyboard's node, null for none.
  function make(state, place, colours, { pointed, cursor }) {
    const { graph, node } = state;
    const notes = view.notes(graph.number);
    const groups = groupColours(notes, colours);
    const noteOf = (number) => notes[graph.names[number]];
    return {
      graph,
      place,
      colours,
      node,
      cursor,
      groups,
      ...edgesOf(state, place, colours, pointed),
      strengths: strengthsOf(state),
      labelOf: (number) => noteOf(number)?.label || "",
      groupColourOf: (number) => groups.get(noteOf(number)?.group) ?? null,
      tintOf: (number) => tintOf(state, colours, number),
    };
  }

  return { make, fade };
})();
