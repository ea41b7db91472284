// Beside the drawing: what a circuit, two circuits, a node or an edge are, in words and tables.
"use strict";

report.panel = (() => {
  const { el, svg, number } = report;
  const MOST_ROWS = 40;
  const SLOT_WORDS = ["query", "key", "value", "MLP", "logits"];
  const count = (value) => value.toLocaleString("en-US");
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

  function span(found) {
    return `${found.mean.toFixed(2)} [${found.low.toFixed(2)}, ${found.high.toFixed(2)}]`;
  }

  // Decimals by the interval, as study/headline.py has them: two digits of its width where that
  // begins with 1, 2 or 3, else one.
  function withInterval(score, low, high) {
    if (low === undefined || Number.isNaN(low)) return [number(score), ""];
    const width = high - low;
    const place = width > 0 ? Math.floor(Math.log10(width)) : -4;
    const places = Math.min(6, Math.max(0, (width / 10 ** place < 3.55 ? 1 : 0) - place));
    const text = (value) => {
      const rounded = value.toFixed(places);
      return (Number(rounded) === 0 ? rounded.replace("-", "") : rounded).replace("-", "−");
    };
    return [text(score), `[${text(low)}, ${text(high)}]`];
  }

  function facts(rows) {
    const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
    return el(
      "dl",
      { class: "facts-list" },
      ...shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
    );
  }

  function unit(circuit) {
    return circuit.about.metric === "logit_diff" ? "logits" : "nats";
  }

  function aboutCircuit(circuit) {
    const { about } = circuit;
    const stable = about.stable === null ? "" : about.stable ? " (stable)" : " (not stable)";
    const isPruned = about.selected && about.selected !== about.size;
    const pruned = isPruned ? ` after pruning ${count(about.selected)}` : "";
    const gap = about.completeness;
    return facts([
      ["method", about.method ? `${about.method}, ${about.metric}` : null],
      ["edges", count(about.size) + pruned],
      ["found on", about.examples ? `${about.examples} examples` : null],
      ["overlap with itself", about.noise_floor ? `${span(about.noise_floor)}${stable}` : null],
      ["completeness gap", typeof gap === "number" ? percent(gap, 1) : gap],
    ]);
  }

  function changed(moved) {
    const bounds = `false-discovery rate ${percent(moved.rate)}, ${moved.examples} examples`;
    return `${Object.keys(moved.edges).length} edges of either (${bounds})`;
  }

  function jaccard(pair, a, b) {
    const union = a.about.size + b.about.size - pair.both;
    return union ? pair.both / union : 0;
  }

  function comparison(state) {
    const { graph, circuit, other } = state;
    const all = graph.data.pairs;
    const pair = all[graph.circuits.indexOf(circuit)][graph.circuits.indexOf(other)];
    const stem = (name) => name.split("/").pop();
    const names = [stem(circuit.name), stem(other.name)];
    const tested = graph.data.tested.find(
      (row) => names.includes(row.a) && names.includes(row.b) && row.a !== row.b,
    );
    const floors = [circuit, other].map((each) => each.about.noise_floor).filter(Boolean);
    const lowest = floors.sort((x, y) => x.mean - y.mean)[0];
    const moved = graph.data.moved;
    const ends = moved && [moved.from, moved.to];
    const isMoved = moved && ends.includes(circuit.name) && ends.includes(other.name);
    return el(
      "div",
      {},
      el(
        "p",
        { class: "big" },
        el("b", {}, jaccard(pair, circuit, other).toFixed(2)),
        " Jaccard of edges",
      ),
      facts([
        ["by chance", pair.chance.toFixed(3)],
        ["with itself", lowest ? `${span(lowest)}, resampled` : null],
        ["permutation test", tested && tested.p !== null ? `p = ${number(tested.p, 2)}` : null],
        ["only here", count(circuit.about.size - pair.both)],
        ["in both", count(pair.both)],
        ["only there", count(other.about.size - pair.both)],
        ["changed beyond noise", isMoved ? changed(moved) : null],
      ]),
    );
  }

  // An edge's row: its other end, slot, score with interval, how often resamples choose it.
  function edgeRow(state, edge, node) {
    const { graph, circuit, other, span: part } = state;
    const scores = graph.scores(circuit, part);
    const whole = !part;
    const [score, interval] = scores
      ? withInterval(scores[edge], whole ? circuit.low?.[edge] : undefined, circuit.high?.[edge])
      : ["", ""];
    const outgoing = graph.source[edge] === node;
    const end = node === null ? null : outgoing ? graph.target[edge] : graph.source[edge];
    const slot = graph.slot[edge] < 3 ? "qkv"[graph.slot[edge]] : "";
    const name =
      end === null
        ? graph.edgeName(edge)
        : graph.names[end] + (outgoing && slot ? `<${slot}>` : "");
    const frequency = circuit.frequency?.[edge];
    const row = el(
      "tr",
      { "data-edge": edge, class: circuit.kept[edge] ? "" : "outside" },
      el(
        "td",
        { class: `name slot-${"qkvml"[graph.slot[edge]]}` },
        el(
          "button",
          { type: "button", class: "link", "data-edge": edge },
          outgoing || node === null || !slot ? name : `${name} → ${slot}`,
        ),
      ),
      el(
        "td",
        { "data-value": scores ? scores[edge] : "", title: interval },
        score,
        interval && !other ? el("small", {}, ` ${interval}`) : null,
      ),
    );
    if (other) {
      const theirs = graph.scores(other, part);
      const [there, theirInterval] = theirs
        ? withInterval(theirs[edge], whole ? other.low?.[edge] : undefined, other.high?.[edge])
        : ["", ""];
      row.append(
        el("td", { "data-value": theirs ? theirs[edge] : "", title: theirInterval }, there),
      );
      row.append(
        el(
          "td",
          { class: "part" },
          circuit.kept[edge]
            ? other.kept[edge]
              ? "both"
              : "here"
            : other.kept[edge]
              ? "there"
              : "–",
        ),
      );
    } else {
      row.append(
        el(
          "td",
          { "data-value": frequency === undefined ? "" : frequency / 10000 },
          frequency === undefined ? "" : percent(frequency / 10000),
        ),
      );
    }
    return row;
  }

  function edgeTable(state, edges, node, name) {
    if (!edges.length) return el("p", { class: "none" }, "none that pass the filters");
    const { other } = state;
    const heads = other ? ["edge", "here", "there", "in"] : ["edge", "score", "chosen"];
    const titles = { chosen: "share of resamples of the examples whose circuit holds the edge" };
    const body = el("tbody", {}, ...edges.map((edge) => edgeRow(state, edge, node)));
    [...body.rows].forEach((row, i) => row.classList.toggle("more", i >= MOST_ROWS));
    const table = el(
      "table",
      { class: "sortable edges" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ...heads.map((head) =>
            el("th", { scope: "col", title: titles[head] }, el("button", { type: "button" }, head)),
          ),
        ),
      ),
      body,
    );
    report.tables.prepare(table);
    const foot = el(
      "p",
      { class: "table-foot" },
      edges.length > MOST_ROWS
        ? el("button", { type: "button", class: "all-rows" }, `Show all ${edges.length}`)
        : null,
      el("button", { type: "button", class: "copy" }, "Copy"),
      el("button", { type: "button", class: "csv", "data-name": name }, "CSV"),
    );
    return el("div", { class: "table" }, table, foot);
  }

  function noteFields(state, name) {
    const note = report.view.notes(state.graph.number)[name] || {};
    const groups = new Set(
      Object.values(report.view.notes(state.graph.number))
        .map((each) => each.group)
        .filter(Boolean),
    );
    const changed = (values) => {
      report.view.note(state.graph.number, name, values);
      state.redraw();
    };
    return el(
      "div",
      { class: "note-fields" },
      el(
        "label",
        {},
        "Label ",
        el("input", {
          id: "note-label",
          maxlength: 40,
          value: note.label || "",
          placeholder: "what it does",
          oninput: (event) => changed({ label: event.target.value }),
        }),
      ),
      el(
        "label",
        {},
        "Group ",
        el("input", {
          id: "note-group",
          maxlength: 40,
          value: note.group || "",
          list: "group-names",
          placeholder: "a group of nodes",
          oninput: (event) => changed({ group: event.target.value }),
        }),
      ),
      el(
        "datalist",
        { id: "group-names" },
        ...[...groups].map((group) => el("option", { value: group })),
      ),
      el("p", { class: "hint" }, "Kept in the file that “Save” writes."),
    );
  }

  function aboutNode(state, node) {
    const { graph, circuit } = state;
    const name = graph.names[node];
    const { edges } = graph.passing(circuit, state.other, { ...state.filter, most: Infinity });
    const incoming = edges.filter((edge) => graph.target[edge] === node);
    const outgoing = edges.filter((edge) => graph.source[edge] === node);
    const layer = graph.layerOf(node);
    const what =
      node === 0
        ? "embeddings"
        : node === graph.logits
          ? "output"
          : graph.isMlp(node)
            ? `MLP of layer ${layer}`
            : `head ${graph.columnOf(node)} of layer ${layer}`;
    return [
      el(
        "div",
        { class: "panel-head" },
        el("h3", {}, name),
        el("span", {}, what),
        el(
          "button",
          { type: "button", class: "close", "data-close": true, "aria-label": "Let go" },
          "×",
        ),
      ),
      noteFields(state, name),
      el("h4", {}, `Reads from ${incoming.length}`),
      edgeTable(state, incoming, node, `${name}_incoming`),
      el("h4", {}, `Is read by ${outgoing.length}`),
      edgeTable(state, outgoing, node, `${name}_outgoing`),
    ];
  }

  // The score of an edge at every checkpoint, with its interval; filled where the circuit holds it.
  function trajectory(graph, sequence, edge, now) {
    if (sequence.length < 2) return null;
    const rows = sequence.map((circuit) => {
      const score = circuit.score?.[edge] ?? 0;
      const known = circuit.low && !Number.isNaN(circuit.low[edge]);
      return {
        circuit,
        score,
        low: known ? circuit.low[edge] : score,
        high: known ? circuit.high[edge] : score,
      };
    });
    const [width, height, pad] = [300, 110, 14];
    const low = Math.min(0, ...rows.map((row) => row.low));
    const high = Math.max(0, ...rows.map((row) => row.high));
    const x = (i) => pad + (i * (width - 2 * pad)) / (rows.length - 1);
    const y = (value) => height - pad - ((value - low) / (high - low || 1)) * (height - 2 * pad);
    const line = rows.map((row, i) => `${i ? "L" : "M"}${x(i)},${y(row.score)}`).join("");
    const chart = svg(
      "svg",
      {
        class: "trajectory",
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": "score at every checkpoint",
      },
      svg("line", { class: "zero", x1: pad, x2: width - pad, y1: y(0), y2: y(0) }),
      svg("path", { d: line }),
    );
    rows.forEach((row, i) => {
      chart.append(
        svg("line", { class: "bar", x1: x(i), x2: x(i), y1: y(row.low), y2: y(row.high) }),
      );
      const title = svg(
        "title",
        {},
        `${row.circuit.name}: ${withInterval(row.score, row.low, row.high).join(" ")}`,
      );
      chart.append(
        svg(
          "circle",
          {
            cx: x(i),
            cy: y(row.score),
            r: row.circuit === now ? 5 : 3.6,
            class: row.circuit.kept[edge] ? "in" : "out",
          },
          title,
        ),
      );
      const anchor = i === 0 ? "start" : i === rows.length - 1 ? "end" : "middle";
      chart.append(
        svg(
          "text",
          {
            x: i === 0 ? 2 : i === rows.length - 1 ? width - 2 : x(i),
            y: height - 1,
            "text-anchor": anchor,
          },
          String(row.circuit.about.step),
        ),
      );
    });
    return el(
      "figure",
      {},
      chart,
      el("figcaption", {}, "Score at every checkpoint; filled: in the circuit"),
    );
  }

  function aboutEdge(state, edge) {
    const { graph, circuit, other } = state;
    const rows = [circuit, other].filter(Boolean).flatMap((each) => {
      const score = graph.scores(each, state.span)?.[edge];
      const words =
        score === undefined
          ? "no score"
          : withInterval(score, state.span ? undefined : each.low?.[edge], each.high?.[edge]).join(
              " ",
            );
      return [
        [each.name, `${words}${score === undefined ? "" : ` ${unit(each)}`}`],
        ["", each.kept[edge] ? "in the circuit" : "not in the circuit"],
        [
          "chosen in",
          each.frequency ? `${percent(each.frequency[edge] / 10000, 1)} of resamples` : null,
        ],
        ["sign kept in", each.sign ? `${percent(each.sign[edge] / 10000, 1)} of resamples` : null],
      ];
    });
    const moved = graph.data.moved;
    const change = moved?.edges[edge];
    if (change)
      rows.push([`${moved.from} → ${moved.to}`, `${change.kind}, q = ${number(change.q, 2)}`]);
    const end = (node) =>
      el("button", { type: "button", class: "link", "data-node": node }, graph.names[node]);
    const slot = graph.slot[edge] < 3 ? ` as ${SLOT_WORDS[graph.slot[edge]]}` : "";
    return [
      el(
        "div",
        { class: "panel-head" },
        el("h3", {}, graph.edgeName(edge)),
        el(
          "button",
          { type: "button", class: "close", "data-close": true, "aria-label": "Let go" },
          "×",
        ),
      ),
      el("p", {}, end(graph.source[edge]), " is read by ", end(graph.target[edge]), slot),
      facts(rows),
      trajectory(graph, state.sequence, edge, circuit),
    ];
  }

  function overview(state) {
    const { graph, circuit, other, passing } = state;
    const rows = passing.edges.slice(0, 200);
    return [
      el(
        "div",
        { class: "panel-head" },
        el("h3", {}, circuit.name),
        other ? el("span", {}, `beside ${other.name}`) : null,
      ),
      other ? comparison(state) : aboutCircuit(circuit),
      el("h4", {}, "Strongest edges shown"),
      edgeTable(state, rows, null, circuit.name),
    ];
  }

  function show(panel, state) {
    const parts =
      state.edge !== null
        ? aboutEdge(state, state.edge)
        : state.node !== null
          ? aboutNode(state, state.node)
          : overview(state);
    panel.replaceChildren(...parts.filter(Boolean));
  }

  return { show, withInterval, percent };
})();
