// The explorer: what is chosen and shown. Controls, keys and pointer change that by its methods.
"use strict";

report.explorer = (() => {
  const { byId, choices, view } = report;
  const NOTHING = { node: null, edge: null };

  class Explorer {
    graphs = [];
    choice = {}; // what is chosen, by the names that stand in the address; only what is not usual
    state = null; // what that shows; null where the page has no circuit
    place = null; // where nodes are drawn
    strokes = []; // the edges drawn, those that lie above the others first
    pointed = NOTHING; // the node or edge under the pointer
    cursor = null; // the node that the keyboard is at
    player = new report.CheckpointPlayer(this);
    fade = new report.EdgeFade(() => this.paint());

    async start() {
      if (!byId("explorer")) return;
      const data = JSON.parse(byId("circuits-data").textContent);
      this.graphs = data.map((graph, i) => new report.Graph(graph, i));
      await Promise.all(this.graphs.map((graph) => graph.load()));
      this.choice = view.all();
      this.offerNames();
      this.listen();
      this.apply();
      byId("filters").open = byId("filters-set").textContent !== "";
      byId("explorer").dataset.ready = "yes";
    }

    // The names that the search completes.
    offerNames() {
      const names = new Set(this.graphs.flatMap((graph) => graph.names));
      const options = [...names].map((value) => report.el("option", { value }));
      byId("node-names").replaceChildren(...options);
    }

    listen() {
      report.controlEvents.listen(this);
      report.pointer.listen(this);
      report.keyboard.listen(this);
      document.addEventListener("fullscreenchange", () => this.paint());
      const dark = matchMedia("(prefers-color-scheme: dark)");
      dark.addEventListener("change", () => this.paint());
      new ResizeObserver(() => this.paint()).observe(byId("drawing"));
      view.onChange(() => {
        this.choice = view.all();
        this.apply();
      });
    }

    // ------------------------------------------------------------- choose

    // Choose other values, draw, and write them into the address. `fade`: edges come and go
    // visibly.
    choose(values, { fade = false } = {}) {
      const before = this.state;
      this.choice = choices.changed(this.choice, values, before.graph);
      view.replace(this.choice);
      this.apply();
      const canFade = !before.other && before.graph === this.state.graph;
      if (fade && canFade) this.fade.start(before.passing);
    }

    pickNode(node) {
      this.choose({ node: this.state.graph.names[node], edge: "" });
    }

    pickEdge(edge) {
      this.choose({ edge: this.state.graph.edgeName(edge), node: "" });
    }

    letGo() {
      this.choose({ node: "", edge: "" });
    }

    // The circuits chosen, all else as usual.
    reset() {
      this.choice = choices.unfiltered(this.choice);
      this.choose({});
    }

    // So many times as many edges as now.
    scaleEdges(factor) {
      const { filter, passing } = this.state;
      const most = Math.round(Math.min(filter.most, passing.passed) * factor);
      this.choose({ edges: Math.max(choices.FEWEST, Math.min(most, passing.passed)) });
    }

    // Pick the node or the edge of this name, or the node that the user labelled so.
    find(text) {
      const { graph } = this.state;
      const wanted = text.trim();
      if (!wanted) return;
      const notes = Object.entries(view.notes(graph.number));
      const [name] = notes.find(([, note]) => note.label === wanted) ?? [wanted];
      const [node, edge] = [graph.numbers.get(name), graph.edgeNumber(name)];
      if (node !== undefined) this.pickNode(node);
      else if (edge >= 0) this.pickEdge(edge);
      else report.say(`No node or edge ${wanted} in this graph.`);
      this.cursor = this.state.node;
    }

    // ------------------------------------------------------------- show

    apply() {
      this.fade.stop();
      this.state = choices.stateOf(this.graphs, this.choice);
      report.controls.sync(this.state, this.graphs, this.choice);
      report.panel.show(byId("panel"), this.state, () => this.paint());
      this.paint();
      byId("canvas").setAttribute("aria-description", this.spoken());
    }

    spoken() {
      const { graph, circuit, node, passing } = this.state;
      const at = node === null ? "" : `, node ${graph.names[node]}`;
      return `${circuit.name}, ${passing.edges.length} edges shown${at}`;
    }

    paint() {
      const { state, pointed, cursor, fade } = this;
      this.place = report.layout.place(state.graph, byId("drawing").clientWidth, this.height());
      const colours = report.drawing.palette(byId("explorer"));
      const scene = report.scene.make(state, this.place, colours, { pointed, cursor });
      if (fade.before) report.scene.fade(scene, state, fade.before, fade.progress);
      this.strokes = [...scene.above, ...scene.strokes].filter((stroke) => stroke.edge !== null);
      report.drawing.draw(byId("canvas"), scene);
      report.legend.show(byId("legend"), state, scene);
    }

    // That of the drawing where the explorer fills the screen and has the panel beside it; 0: as
    // high as it needs.
    height() {
      const isFull = document.fullscreenElement || this.isFilled();
      const [box, panel] = [byId("drawing"), byId("panel")];
      const isBesidePanel = panel.offsetTop < box.offsetTop + box.offsetHeight;
      return isFull && isBesidePanel ? box.clientHeight - byId("legend").offsetHeight - 8 : 0;
    }

    // What lies under the pointer; `repaint`: it is drawn above the others at once.
    pointAt({ node, edge }, { repaint = true } = {}) {
      if (node === this.pointed.node && edge === this.pointed.edge) return;
      this.pointed = { node, edge };
      if (repaint) this.paint();
    }

    // ------------------------------------------------------------- full screen

    isFilled() {
      return byId("explorer").classList.contains("filled");
    }

    // Fill the screen or no longer; the window, where the browser refuses that.
    fillScreen() {
      const box = byId("explorer");
      const fillWindow = () => box.classList.add("filled");
      if (document.fullscreenElement) document.exitFullscreen();
      else if (this.isFilled()) box.classList.remove("filled");
      else if (box.requestFullscreen) box.requestFullscreen().catch(fillWindow);
      else fillWindow();
      this.paint();
    }

    // Let go of what is picked, or leave the full window.
    escape() {
      this.cursor = null;
      if (this.isFilled()) this.fillScreen();
      else this.letGo();
    }
  }

  return new Explorer();
})();
