// One pair at a time: its text with what was corrupted, its summary's NLL, where a head looks.
"use strict";

report.examples = (() => {
  const { el, view, number } = report;
  const RUNS = ["clean", "circuit", "corrupted"];
  let data = null;
  let weights = {}; // of the pair and head shown: {clean, corrupted}
  let choice = { example: 0, head: "", token: "" };

  const pairNow = () => data.pairs[choice.example];
  const shownText = (token) => token.replaceAll("\n", "⏎\n") || "∅";

  function choose(values) {
    Object.assign(choice, values);
    const asText = { example: choice.example || "", head: choice.head, token: choice.token };
    if (report.explorer.state()) report.explorer.choose(asText);
    else view.replace({ ...view.all(), ...asText });
    draw();
  }

  async function loadWeights() {
    weights = {};
    const packed = pairNow().attention[choice.head];
    for (const name of Object.keys(packed || {})) weights[name] = await report.unpack(packed[name]);
  }

  // (tokens,) the head's weight on every token, of one target token or the mean over all.
  function looked(name) {
    const pair = pairNow();
    const n = pair.tokens.length;
    const rows = n - pair.target_start;
    if (!weights[name]) return null;
    const chosen = choice.token === "" ? [...Array(rows).keys()] : [Number(choice.token)];
    const found = new Float64Array(n);
    for (const row of chosen) {
      for (let i = 0; i < n; i++)
        found[i] += weights[name][row * n + i] / data.parts / chosen.length;
    }
    return found;
  }

  function text(name) {
    const pair = pairNow();
    const found = looked(name);
    const largest = found ? Math.max(...found, 1e-9) : 1;
    const marked = new Set(
      pair.corrupted_spans.flatMap(([a, b]) => Array.from({ length: b - a }, (_, i) => a + i)),
    );
    const tokens = pair.tokens.slice(0, pair.target_start).map((token, i) => {
      const here = name === "corrupted" ? (pair.replaced[i] ?? token) : token;
      const share = found ? found[i] : 0;
      const heat =
        found && share > 0
          ? `background:rgba(var(--heat),${(0.85 * Math.sqrt(share / largest)).toFixed(3)})`
          : null;
      return el(
        "span",
        {
          class: marked.has(i) || pair.replaced[i] !== undefined ? "salient" : "",
          style: heat,
          title: found ? `${(100 * share).toFixed(1)} %` : null,
        },
        shownText(here),
      );
    });
    const inMarked = found ? [...marked].reduce((sum, i) => sum + found[i], 0) : null;
    const words =
      inMarked === null
        ? ""
        : `${(100 * inMarked).toFixed(0)} % of its attention on the marked tokens`;
    return el(
      "div",
      { class: "example-text" },
      el(
        "h4",
        {},
        name === "clean" ? "As the model reads it" : "Corrupted",
        el("small", {}, words),
      ),
      el("p", { dir: "auto" }, ...tokens),
    );
  }

  function summary() {
    const pair = pairNow();
    const most = Math.max(...RUNS.flatMap((run) => pair.nll[run]), 1e-6);
    const words = pair.tokens.slice(pair.target_start).map((token, i) => {
      const told = RUNS.map((run) => `${run} ${number(pair.nll[run][i])}`).join(", ");
      const bars = RUNS.map((run) =>
        el("i", { class: `run-${run}`, style: `height:${(34 * pair.nll[run][i]) / most}px` }),
      );
      return el(
        "button",
        {
          type: "button",
          class: "token",
          "aria-pressed": String(choice.token === String(i)),
          title: `${told} nats`,
          onclick: () => choose({ token: choice.token === String(i) ? "" : String(i) }),
        },
        el("span", { class: "bars" }, ...bars),
        el("bdi", {}, shownText(token)),
      );
    });
    const mean = (run) => pair.nll[run].reduce((a, b) => a + b, 0) / pair.nll[run].length;
    const key = RUNS.map((run) =>
      el("span", { class: `run-${run}` }, el("i", {}), `${run} ${number(mean(run))}`),
    );
    return el(
      "div",
      { class: "example-summary" },
      el(
        "h4",
        {},
        "The summary, token by token",
        el("small", { class: "run-key" }, "NLL in nats, mean: ", ...key),
      ),
      el("div", { class: "tokens" }, ...words),
    );
  }

  async function draw() {
    await loadWeights();
    const select = (id, rows, value, change) => {
      const made = el(
        "select",
        { id, onchange: (event) => change(event.target.value) },
        ...rows.map(([key, words]) => el("option", { value: key }, words)),
      );
      made.value = value;
      return made;
    };
    const pairs = data.pairs.map((pair, i) => [String(i), pair.id]);
    const heads = [["", "no head"], ...data.heads.map((head) => [head, head])];
    const which =
      choice.token === ""
        ? "mean over the summary's tokens"
        : `where it stands before token ${Number(choice.token) + 1}`;
    document.getElementById("example-view").replaceChildren(
      el(
        "div",
        { class: "choice" },
        el(
          "label",
          {},
          "Example ",
          select("example", pairs, String(choice.example), (value) =>
            choose({ example: Number(value), token: "" }),
          ),
        ),
        el(
          "label",
          {},
          "Attention of ",
          select("example-head", heads, choice.head, (head) => choose({ head })),
        ),
        choice.head
          ? el("span", { class: "hint" }, `${which}; a click on a token chooses it`)
          : null,
      ),
      summary(),
      el("div", { class: "example-texts" }, text("clean"), text("corrupted")),
    );
  }

  function read() {
    const example = Number(view.get("example") ?? 0);
    choice.example = data.pairs[example] ? example : 0;
    choice.head = data.heads.includes(view.get("head"))
      ? view.get("head")
      : view.get("head") === undefined
        ? (data.heads[0] ?? "")
        : "";
    choice.token =
      /^\d+$/.test(view.get("token") ?? "") &&
      Number(view.get("token")) < pairNow().nll.clean.length
        ? view.get("token")
        : "";
  }

  function start() {
    data = JSON.parse(document.getElementById("examples-data").textContent);
    if (!data || !document.getElementById("example-view")) return;
    read();
    view.onChange(() => {
      read();
      draw();
    });
    draw();
  }

  return { start };
})();
