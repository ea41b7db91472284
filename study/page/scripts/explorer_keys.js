// The keyboard: from node to node on the drawing, and a key for most of what the controls do.
"use strict";

report.keyboard = (() => {
  const { byId } = report;
  const FEWER = 0.7; // times as many edges
  const MORE = 1.4;
  const WRITTEN_IN = "input:not([type=range], [type=checkbox]), select, textarea, dialog";
  let columnBefore = 0; // that of the last head or MLP; a bar has none

  // ------------------------------------------------------------- from node to node

  function cursorOf({ cursor, state }) {
    return cursor ?? state.node ?? state.graph.logits;
  }

  function goAcross(explorer, columns) {
    const { graph } = explorer.state;
    const node = cursorOf(explorer);
    const next = graph.nodeAt(graph.layerOf(node), graph.columnOf(node) + columns);
    goTo(explorer, graph.isBar(node) ? node : next);
  }

  function goUp(explorer, layers) {
    const { graph } = explorer.state;
    const node = cursorOf(explorer);
    if (!graph.isBar(node)) columnBefore = graph.columnOf(node);
    goTo(explorer, graph.nodeAt(graph.layerOf(node) + layers, columnBefore));
  }

  // Where a node is picked, the next one is picked too.
  function goTo(explorer, node) {
    const name = explorer.state.graph.names[node];
    explorer.cursor = node;
    if (explorer.state.node === null) explorer.paint();
    else explorer.pickNode(node);
    byId("canvas").setAttribute("aria-description", `node ${name}`);
  }

  function pickCursor(explorer) {
    if (explorer.cursor !== null) explorer.pickNode(explorer.cursor);
  }

  function play({ player, state }) {
    if (state.sequence.length > 1) player.toggle();
  }

  // ------------------------------------------------------------- every key

  const ON_DRAWING = {
    ArrowLeft: (explorer) => goAcross(explorer, -1),
    ArrowRight: (explorer) => goAcross(explorer, 1),
    ArrowUp: (explorer) => goUp(explorer, 1),
    ArrowDown: (explorer) => goUp(explorer, -1),
    Enter: pickCursor,
    " ": play,
  };
  const EVERYWHERE = {
    "[": ({ player }) => player.show(player.position - 1),
    "]": ({ player }) => player.show(player.position + 1),
    "-": (explorer) => explorer.scaleEdges(FEWER),
    "+": (explorer) => explorer.scaleEdges(MORE),
    "=": (explorer) => explorer.scaleEdges(MORE),
    "/": () => byId("find").focus(),
    f: (explorer) => explorer.fillScreen(),
    s: () => report.view.save(),
    "?": () => byId("keys-shown").showModal(),
    Escape: (explorer) => explorer.escape(),
  };

  function press(explorer, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest(WRITTEN_IN)) {
      if (event.key === "Escape") event.target.blur?.();
      return;
    }
    const isOnDrawing = event.target === byId("canvas");
    const action = EVERYWHERE[event.key] ?? (isOnDrawing ? ON_DRAWING[event.key] : undefined);
    if (!action) return;
    event.preventDefault();
    action(explorer);
  }

  function listen(explorer) {
    document.addEventListener("keydown", (event) => press(explorer, event));
  }

  return { listen };
})();
