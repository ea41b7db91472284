// The explorer: controls, keyboard and pointer change what is chosen; all else follows from that.
"use strict";

report.explorer = (() => {
  const { el } = report;
  const { controls, drawing, panel, view } = report;
  const id = (name) => document.getElementById(name);
  const AT_FIRST = 250;
  const WIDE = 300; // edges drawn as wide as they are strong; others are hairlines, drawn faster
  const FADE = 320; // milliseconds in which edges come and go
  const { SLOTS } = report.circuits;

  let graphs = [];
  let state = null; // what is shown now; made anew by `apply`
  let choice = {}; // what is chosen, by the names that stand in the address; only what is not usual
  let before = null; // the checkpoint before, while its edges go
  let place = null;
  let cursor = null;
  let playing = null;
  let hovered = null;
  const canvas = () => id("canvas");

  const chosen = (name, usual) => choice[name] ?? usual;

  // ------------------------------------------------------------- from choice to what is shown

  function findCircuit(name) {
    for (const graph of graphs) {
      const circuit = graph.circuits.find((each) => each.name === name);
      if (circuit) return [graph, circuit];
    }
    return null;
  }

  // The checkpoint that a view begins with: the last one of the first run, else the first circuit.
  function usualCircuit() {
    const circuits = graphs[0].circuits;
    const stepped = sequenceOf(graphs[0], circuits[0]);
    return stepped.length ? stepped[stepped.length - 1] : circuits[0];
  }

  function sequenceOf(graph, circuit) {
    if (circuit.about.step === null) return [];
    return graph.circuits.filter(
      (each) => each.about.step !== null && each.about.folder === circuit.about.folder,
    );
  }

  function resolve() {
    const [graph, circuit] = findCircuit(chosen("circuit", "")) ?? [graphs[0], usualCircuit()];
    const other =
      graph.circuits.find((each) => each.name === chosen("other", "") && each !== circuit) ?? null;
    const layers = (name, usual) => {
      const value = Number(chosen(name, usual));
      return Number.isInteger(value) ? value : usual;
    };
    const slots = chosen("slots", "qkvml");
    const sign = chosen("sign", "+-");
    const parts = chosen("parts", "here,there,both").split(",");
    const moved = graph.data.moved;
    const span = circuit.spans[chosen("span", "")] ? chosen("span", "") : "";
    const filter = {
      most: Math.min(controls.MOST, Math.max(1, Number(chosen("edges", AT_FIRST)) || AT_FIRST)),
      all: chosen("all", "") === "1",
      slots: SLOTS.map((slot) => slots.includes(slot)),
      plus: sign.includes("+"),
      minus: sign.includes("-"),
      stable: Math.min(1, Math.max(0, Number(chosen("stable", 0)) / 100 || 0)),
      from: layers("from", -1),
      to: layers("to", graph.layers),
      reach: layers("reach", 0),
      span,
      moved: chosen("moved", "") === "1" && moved ? moved.edges : null,
      parts: {
        here: parts.includes("here"),
        there: parts.includes("there"),
        both: parts.includes("both"),
      },
    };
    const node = graph.numbers.get(chosen("node", "")) ?? null;
    const edge = choice.edge ? graph.edgeNumber(choice.edge) : -1;
    return {
      graph,
      circuit,
      other,
      filter,
      span,
      node,
      edge: edge >= 0 ? edge : null,
      sequence: sequenceOf(graph, circuit),
      redraw: paint,
      passing: graph.passing(circuit, other, filter),
    };
  }

  // ------------------------------------------------------------- strokes

  function widthOf(share, narrow) {
    return (narrow ? 0.5 : 0.7) + (narrow ? 2.6 : 3.6) * Math.sqrt(share);
  }

  function strokesOf(colours) {
    const { graph, circuit, other, passing, node, edge: picked, span } = state;
    const scores = graph.scores(circuit, span);
    const theirs = other && graph.scores(other, span);
    const many = passing.edges.length;
    const base = many > 1200 ? 0.16 : many > 500 ? 0.24 : 0.34;
    const focus = node ?? (hovered?.node >= 0 ? hovered.node : null);
    const strokes = [];
    const above = [];
    passing.edges.forEach((edge, rank) => {
      const share = passing.size[edge] / passing.largest;
      const [here, there] = [circuit.kept[edge], other ? other.kept[edge] : 0];
      const score = (other && !here ? theirs : scores)?.[edge] ?? 1;
      const touches =
        focus !== null && (graph.source[edge] === focus || graph.target[edge] === focus);
      const stroke = {
        edge,
        points: drawing.curve(graph, place, edge),
        dashed: score < 0,
        colour: other
          ? colours.parts[here && there ? 2 : here ? 0 : 1]
          : colours.slots[graph.slot[edge]],
        width: rank < WIDE ? widthOf(share, place.narrow) : place.hair,
        alpha: Math.min(0.95, base + 0.62 * Math.sqrt(share)),
      };
      if (edge === picked || edge === hovered?.edge) {
        above.push({ ...stroke, alpha: 1, width: stroke.width + 1.6 });
      } else if (touches) {
        above.push({ ...stroke, alpha: Math.max(0.75, stroke.alpha) });
      } else {
        if (focus !== null || picked !== null) stroke.alpha *= focus !== null ? 0.16 : 0.45;
        strokes.push(stroke);
      }
    });
    return { strokes, above };
  }

  // Edges of the checkpoint before that are gone, and those that came; `t` from 0 to 1.
  function changing(scene, colours, t) {
    const was = new Set(before.edges);
    const is = new Set(state.passing.edges);
    for (const stroke of [...scene.strokes, ...scene.above]) {
      if (was.has(stroke.edge)) continue;
      stroke.alpha *= 0.35 + 0.65 * t;
      if (t < 1) [stroke.colour, stroke.width] = [colours.come, stroke.width + 2 * (1 - t)];
    }
    for (const edge of before.edges) {
      if (is.has(edge)) continue;
      const share = before.size[edge] / before.largest;
      scene.above.push({
        edge: -1,
        points: drawing.curve(state.graph, place, edge),
        dashed: true,
        colour: colours.gone,
        width: widthOf(share, place.narrow),
        alpha: (1 - t) * 0.75,
      });
    }
  }

  function strengths() {
    const { graph, circuit, other } = state;
    const own = graph.nodeStrengths(circuit);
    if (!other) return own;
    const theirs = graph.nodeStrengths(other);
    return own.map((value, node) => Math.max(value, theirs[node]));
  }

  function paint(t = 1) {
    if (!state) return;
    const { graph, circuit, other, node } = state;
    const box = id("drawing");
    const full = document.fullscreenElement || id("explorer").classList.contains("filled");
    const room = full ? box.clientHeight - id("legend").offsetHeight - 8 : 0;
    place = drawing.layout(graph, box.clientWidth, room);
    const colours = drawing.palette(id("explorer"));
    const scene = {
      graph,
      place,
      colours,
      node,
      cursor,
      strengths: strengths(),
      ...strokesOf(colours),
    };
    if (before && t < 1) changing(scene, colours, t);
    state.strokes = [...scene.above.filter((stroke) => stroke.edge >= 0), ...scene.strokes];
    const notes = view.notes(graph.number);
    const groups = groupNames(notes);
    scene.labelOf = (number) => notes[graph.names[number]]?.label || "";
    scene.groupOf = (number) => {
      const group = notes[graph.names[number]]?.group;
      return group ? colours.groups[groups.indexOf(group) % colours.groups.length] : null;
    };
    scene.tint = (number) => {
      if (!other) return colours.accent;
      const [here, there] = [
        graph.nodeStrengths(circuit)[number] > 0,
        graph.nodeStrengths(other)[number] > 0,
      ];
      return colours.parts[here && there ? 2 : here ? 0 : 1];
    };
    drawing.draw(canvas(), scene);
    drawLegend(groups, colours);
  }

  const groupNames = (notes) =>
    [
      ...new Set(
        Object.values(notes)
          .map((note) => note.group)
          .filter(Boolean),
      ),
    ].sort();

  function drawLegend(groups, colours) {
    const line = (colour, words, dashed) =>
      el(
        "span",
        {},
        el("i", { class: dashed ? "dashed" : "", style: `border-color:${colour}` }),
        words,
      );
    const { other, circuit } = state;
    const edges = other
      ? [
          line(colours.parts[0], `only ${circuit.name}`),
          line(colours.parts[1], `only ${other.name}`),
          line(colours.parts[2], "both"),
        ]
      : [
          line(colours.slots[0], "read as query"),
          line(colours.slots[1], "key"),
          line(colours.slots[2], "value"),
          line(colours.slots[3], "MLP"),
          line(colours.slots[4], "logits"),
        ];
    const signs = circuit.score
      ? [line(colours.soft, "dashed: ablating it lowers the metric", true)]
      : [];
    const marks = groups.map((group, i) => line(colours.groups[i % colours.groups.length], group));
    id("legend").replaceChildren(...edges, ...signs, ...marks);
  }

  // ------------------------------------------------------------- change

  const USUAL = {
    other: "",
    edges: String(AT_FIRST),
    all: "",
    slots: "qkvml",
    sign: "+-",
    stable: "0",
    from: "-1",
    reach: "0",
    span: "",
    node: "",
    edge: "",
    moved: "",
    parts: "here,there,both",
  };

  // Choose other values, draw, and write them into the address. `fade`: edges come and go visibly.
  function choose(values, { fade = false } = {}) {
    const passed = fade && !state.other ? { ...state.passing } : null;
    for (const [name, value] of Object.entries(values)) {
      const text = value === null || value === undefined ? "" : String(value);
      const usual = name === "to" ? String(state.graph.layers) : USUAL[name];
      if (text === "" || text === usual) delete choice[name];
      else choice[name] = text;
    }
    view.replace(choice);
    apply();
    if (passed) startFade(passed);
  }

  function apply() {
    state = resolve();
    controls.sync(state, graphs, choice);
    panel.show(id("panel"), state);
    paint();
    canvas().setAttribute("aria-description", spoken());
  }

  function startFade(passed) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (calm || passed.edges.length > 800) return;
    before = passed;
    const since = performance.now();
    cancelAnimationFrame(startFade.frame);
    const frame = () => {
      const t = (performance.now() - since) / FADE;
      if (t >= 1) before = null;
      paint(Math.min(1, t));
      if (t < 1) startFade.frame = requestAnimationFrame(frame);
    };
    startFade.frame = requestAnimationFrame(frame);
  }

  function spoken() {
    const { graph, circuit, node, passing } = state;
    const at = node !== null ? `, node ${graph.names[node]}` : "";
    return `${circuit.name}, ${passing.edges.length} edges shown${at}`;
  }

  function toStep(i) {
    const { sequence } = state;
    if (i >= 0 && i < sequence.length && sequence[i] !== state.circuit)
      choose({ circuit: sequence[i].name }, { fade: true });
  }

  function play() {
    if (playing) {
      clearInterval(playing);
      playing = null;
    } else {
      const last = state.sequence.length - 1;
      if (state.sequence.indexOf(state.circuit) === last) toStep(0);
      playing = setInterval(() => {
        const i = state.sequence.indexOf(state.circuit);
        if (i >= state.sequence.length - 1) play();
        else toStep(i + 1);
      }, 1100);
    }
    id("play").textContent = playing ? "❚❚" : "▶";
  }

  function find(text) {
    const { graph } = state;
    const wanted = text.trim();
    const labelled = Object.entries(view.notes(graph.number)).find(
      ([, note]) => note.label === wanted,
    );
    const name = labelled ? labelled[0] : wanted;
    if (graph.numbers.has(name)) choose({ node: name, edge: "" });
    else if (graph.edgeNumber(name) >= 0) choose({ edge: name, node: "" });
    else if (wanted) report.say(`No node or edge ${wanted} in this graph.`);
    cursor = state.node;
  }

  function fillScreen() {
    const box = id("explorer");
    if (document.fullscreenElement) document.exitFullscreen();
    else if (box.classList.contains("filled")) box.classList.remove("filled");
    else if (box.requestFullscreen)
      box.requestFullscreen().catch(() => box.classList.add("filled"));
    else box.classList.add("filled");
    paint();
  }

  // ------------------------------------------------------------- pointer and keyboard

  function under(event) {
    const box = canvas().getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const node = drawing.nodeAt(place, x, y);
    if (node >= 0) return { node, edge: null, x, y };
    const reach = event.pointerType === "touch" ? 12 : 6;
    return { node: -1, edge: drawing.strokeAt(state.strokes, x, y, reach)?.edge ?? null, x, y };
  }

  function point(event) {
    const now = under(event);
    const same = hovered && hovered.node === now.node && hovered.edge === now.edge;
    hovered = now.node >= 0 || now.edge !== null ? now : null;
    canvas().style.cursor = hovered ? "pointer" : "default";
    showTip(now);
    if (!same && event.pointerType !== "touch") paint();
  }

  function showTip({ node, edge, x, y }) {
    const tip = id("tip");
    tip.hidden = node < 0 && edge === null;
    if (tip.hidden) return;
    const { graph, circuit } = state;
    if (edge !== null) {
      const score = graph.scores(circuit, state.span)?.[edge];
      const words =
        score === undefined
          ? ""
          : panel
              .withInterval(
                score,
                state.span ? undefined : circuit.low?.[edge],
                circuit.high?.[edge],
              )
              .join(" ");
      tip.replaceChildren(el("b", {}, graph.edgeName(edge)), ` ${words}`);
    } else {
      const label = view.notes(graph.number)[graph.names[node]]?.label;
      tip.replaceChildren(el("b", {}, graph.names[node]), label ? ` ${label}` : "");
    }
    tip.style.left = `${Math.min(x + 12, place.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.max(0, y - 30)}px`;
  }

  function press(event) {
    const now = under(event);
    if (now.node >= 0) {
      cursor = now.node;
      choose({ node: now.node === state.node ? "" : state.graph.names[now.node], edge: "" });
    } else if (now.edge !== null) choose({ edge: state.graph.edgeName(now.edge), node: "" });
    else if (state.node !== null || state.edge !== null) choose({ node: "", edge: "" });
  }

  function move(dx, dy) {
    const { graph } = state;
    if (cursor === null) cursor = state.node ?? graph.logits;
    const layer = graph.layerOf(cursor);
    const column = graph.columnOf(cursor);
    const at = (row, col) => 1 + row * graph.perLayer + Math.max(0, Math.min(graph.heads, col));
    if (dy) {
      const next = layer + dy;
      const remembered = column >= 0 ? column : (move.column ?? 0);
      move.column = remembered;
      cursor = next < 0 ? 0 : next >= graph.layers ? graph.logits : at(next, remembered);
    } else if (column >= 0) cursor = at(layer, column + dx);
    if (state.node !== null) choose({ node: graph.names[cursor], edge: "" });
    else paint();
    canvas().setAttribute("aria-description", `node ${graph.names[cursor]}`);
  }

  const KEYS = {
    ArrowLeft: () => move(-1, 0),
    ArrowRight: () => move(1, 0),
    ArrowUp: () => move(0, 1),
    ArrowDown: () => move(0, -1),
    Enter: () => cursor !== null && choose({ node: state.graph.names[cursor], edge: "" }),
    " ": () => state.sequence.length > 1 && play(),
  };
  const EVERYWHERE = {
    "[": () => toStep(state.sequence.indexOf(state.circuit) - 1),
    "]": () => toStep(state.sequence.indexOf(state.circuit) + 1),
    "-": () => fewer(0.7),
    "+": () => fewer(1.4),
    "=": () => fewer(1.4),
    "/": () => id("find").focus(),
    f: fillScreen,
    s: view.save,
    "?": () => id("keys-shown").showModal(),
    Escape: () => {
      cursor = null;
      if (id("explorer").classList.contains("filled")) fillScreen();
      else choose({ node: "", edge: "" });
    },
  };

  function fewer(factor) {
    const most = Math.min(state.filter.most, state.passing.passed) * factor;
    choose({ edges: Math.max(controls.FEWEST, Math.min(Math.round(most), state.passing.passed)) });
  }

  function type(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (
      event.target.closest("input:not([type=range], [type=checkbox]), select, textarea, dialog")
    ) {
      if (event.key === "Escape") event.target.blur?.();
      return;
    }
    const inCanvas = event.target === canvas();
    const action = EVERYWHERE[event.key] ?? (inCanvas ? KEYS[event.key] : null);
    if (!action) return;
    event.preventDefault();
    action();
  }

  function listen() {
    const on = (name, type_, action) => id(name).addEventListener(type_, action);
    on("circuit", "change", (event) => choose({ circuit: event.target.value }, { fade: true }));
    on("other", "change", (event) => choose({ other: event.target.value }));
    on("step", "input", (event) => toStep(Number(event.target.value)));
    on("play", "click", play);
    on("edges", "input", (event) =>
      choose({ edges: controls.fromSlider(event.target.value, state.passing.passed) }),
    );
    on("all", "change", (event) => choose({ all: event.target.checked ? "1" : "" }));
    on("moved", "change", (event) => choose({ moved: event.target.checked ? "1" : "" }));
    on("stable", "input", (event) => choose({ stable: event.target.value }));
    for (const name of ["from", "to", "reach", "span"])
      on(name, "change", (event) => choose({ [name]: event.target.value }));
    const boxes = (name) => [...id(name).querySelectorAll("input:checked")].map((box) => box.value);
    on("slots", "change", () => choose({ slots: boxes("slots").join("") || "none" }));
    on("signs", "change", () => choose({ sign: boxes("signs").join("") || "none" }));
    on("parts", "change", () => choose({ parts: boxes("parts").join(",") || "none" }));
    on("reset", "click", () => {
      choice = Object.fromEntries(
        ["circuit", "other"].filter((name) => choice[name]).map((name) => [name, choice[name]]),
      );
      choose({});
    });
    on("find", "change", (event) => find(event.target.value));
    on("find", "keydown", (event) => {
      if (event.key === "Enter") find(event.target.value);
    });
    on("share", "click", () => report.copy(view.address(), "The address of this view is copied."));
    on("save", "click", view.save);
    on("fill", "click", fillScreen);
    on("keys", "click", () => id("keys-shown").showModal());
    on("panel", "click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.close) choose({ node: "", edge: "" });
      else if (button?.dataset.node)
        choose({ node: state.graph.names[button.dataset.node], edge: "" });
      else if (button?.dataset.edge)
        choose({ edge: state.graph.edgeName(Number(button.dataset.edge)), node: "" });
    });
    on("panel", "pointerover", (event) => {
      const edge = event.target.closest("tr[data-edge]")?.dataset.edge;
      const now = edge === undefined ? null : Number(edge);
      if ((hovered?.edge ?? null) === now) return;
      hovered = now === null ? null : { node: -1, edge: now };
      paint();
    });
    on("canvas", "pointermove", point);
    on("canvas", "pointerleave", () => {
      hovered = null;
      id("tip").hidden = true;
      paint();
    });
    on("canvas", "click", press);
    document.addEventListener("keydown", type);
    document.addEventListener("fullscreenchange", () => paint());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
    new ResizeObserver(() => paint()).observe(id("drawing"));
    view.onChange(() => {
      choice = explorerChoice();
      apply();
    });
  }

  const explorerChoice = () => view.all();

  async function start() {
    if (!id("explorer")) return;
    const data = JSON.parse(id("circuits-data").textContent);
    graphs = data.map((each, i) => new report.circuits.Graph(each, i));
    await Promise.all(graphs.map((graph) => graph.load()));
    choice = explorerChoice();
    const names = graphs.flatMap((graph) => graph.names);
    id("node-names").replaceChildren(
      ...[...new Set(names)].map((name) => el("option", { value: name })),
    );
    listen();
    apply();
    id("filters").open = id("filters-set").textContent !== "";
    id("explorer").dataset.ready = "yes";
  }

  return { start, state: () => state, choose, place: () => place };
})();
