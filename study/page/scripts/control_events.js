// What the explorer's controls and the panel do when they are used.
"use strict";

report.controlEvents = (() => {
  const { byId } = report;

  function on(name, kind, action) {
    byId(name).addEventListener(kind, action);
  }

  function checked(name) {
    return [...byId(name).querySelectorAll("input:checked")].map((box) => box.value);
  }

  function listenToCircuits(explorer) {
    const { player } = explorer;
    on("circuit", "change", ({ target }) =>
      explorer.choose({ circuit: target.value }, { fade: true }),
    );
    on("other", "change", ({ target }) => explorer.choose({ other: target.value }));
    on("step", "input", ({ target }) => player.show(Number(target.value)));
    on("play", "click", () => player.toggle());
  }

  function listenToFilters(explorer) {
    on("edges", "input", ({ target }) => {
      const { passed } = explorer.state.passing;
      explorer.choose({ edges: report.edgeSlider.edges(Number(target.value), passed) });
    });
    for (const name of ["all", "moved"])
      on(name, "change", ({ target }) => explorer.choose({ [name]: target.checked ? "1" : "" }));
    for (const name of ["from", "to", "reach", "span"])
      on(name, "change", ({ target }) => explorer.choose({ [name]: target.value }));
    on("stable", "input", ({ target }) => explorer.choose({ stable: target.value }));
    on("slots", "change", () => explorer.choose({ slots: checked("slots").join("") || "none" }));
    on("signs", "change", () => explorer.choose({ sign: checked("signs").join("") || "none" }));
    on("parts", "change", () => explorer.choose({ parts: checked("parts").join(",") || "none" }));
    on("reset", "click", () => explorer.reset());
  }

  function listenToTools(explorer) {
    on("find", "change", ({ target }) => explorer.find(target.value));
    on("find", "keydown", (event) => {
      if (event.key === "Enter") explorer.find(event.target.value);
    });
    const words = "The address of this view is copied.";
    on("share", "click", () => report.copy(report.view.address(), words));
    on("save", "click", () => report.view.save());
    on("fill", "click", () => explorer.fillScreen());
    on("keys", "click", () => byId("keys-shown").showModal());
  }

  function listenToPanel(explorer) {
    on("panel", "click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      const { close, node, edge } = button.dataset;
      if (close !== undefined) explorer.letGo();
      else if (node) explorer.pickNode(Number(node));
      else if (edge) explorer.pickEdge(Number(edge));
    });
    on("panel", "pointerover", ({ target }) => {
      const edge = target.closest("tr[data-edge]")?.dataset.edge;
      explorer.pointAt({ node: null, edge: edge === undefined ? null : Number(edge) });
    });
  }

  function listen(explorer) {
    listenToCircuits(explorer);
    listenToFilters(explorer);
    listenToTools(explorer);
    listenToPanel(explorer);
  }

  return { listen };
})();
