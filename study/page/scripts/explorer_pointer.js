// The pointer over the drawing: what lies under it, the tip beside it, a click that picks it.
"use strict";

report.pointer = (() => {
  const { byId, el, view, hits } = report;
  const REACH = 6; // pixels from an edge at which it is meant
  const REACH_OF_TOUCH = 12;

  // {node, edge} under the pointer, null for none, and where that is on the canvas.
  function under(explorer, event) {
    const box = byId("canvas").getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const node = hits.nodeAt(explorer.place, x, y);
    if (node >= 0) return { node, edge: null, x, y };
    const reach = event.pointerType === "touch" ? REACH_OF_TOUCH : REACH;
    const stroke = hits.strokeAt(explorer.strokes, x, y, reach);
    return { node: null, edge: stroke?.edge ?? null, x, y };
  }

  function move(explorer, event) {
    const target = under(explorer, event);
    const isNothing = target.node === null && target.edge === null;
    byId("canvas").style.cursor = isNothing ? "default" : "pointer";
    showTip(explorer, target);
    explorer.pointAt(target, { repaint: event.pointerType !== "touch" });
  }

  function leave(explorer) {
    byId("tip").hidden = true;
    explorer.pointAt({ node: null, edge: null });
  }

  function press(explorer, event) {
    const { node, edge } = under(explorer, event);
    if (node !== null) {
      explorer.cursor = node;
      if (node === explorer.state.node) explorer.letGo();
      else explorer.pickNode(node);
    } else if (edge !== null) {
      explorer.pickEdge(edge);
    } else if (explorer.state.node !== null || explorer.state.edge !== null) {
      explorer.letGo();
    }
  }

  // ------------------------------------------------------------- the tip

  // The name of a node or an edge, and its label or score.
  function tipWords({ graph, circuit, span }, { node, edge }) {
    if (edge !== null) {
      const score = graph.scoreOf(circuit, edge, span);
      return [graph.edgeName(edge), report.numbers.inOneLine(score)];
    }
    const name = graph.names[node];
    return [name, view.notes(graph.number)[name]?.label ?? ""];
  }

  function showTip(explorer, { node, edge, x, y }) {
    const tip = byId("tip");
    tip.hidden = node === null && edge === null;
    if (tip.hidden) return;
    const [name, words] = tipWords(explorer.state, { node, edge });
    tip.replaceChildren(el("b", {}, name), words ? ` ${words}` : "");
    tip.style.left = `${Math.min(x + 12, explorer.place.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.max(0, y - 30)}px`;
  }

  function listen(explorer) {
    const canvas = byId("canvas");
    canvas.addEventListener("pointermove", (event) => move(explorer, event));
    canvas.addEventListener("pointerleave", () => leave(explorer));
    canvas.addEventListener("click", (event) => press(explorer, event));
  }

  return { listen };
})();
