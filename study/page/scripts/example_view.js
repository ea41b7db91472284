// One pair at a time: its summary's costs, its text with what was corrupted, where a head looks.
"use strict";

report.examples = (() => {
  const { byId, el, view, exampleText } = report;
  let data = null;
  let choice = { example: 0, head: "", token: "" };

  function choose(values) {
    choice = { ...choice, ...values };
    const inAddress = { ...choice, example: choice.example || "" };
    if (report.explorer.state) report.explorer.choose(inAddress);
    else view.replace({ ...view.all(), ...inAddress });
    draw();
  }

  // ------------------------------------------------------------- from the address

  function headIn(address) {
    if (address === undefined) return data.heads[0] ?? "";
    return data.heads.includes(address) ? address : "";
  }

  function tokenIn(address, pair) {
    const isToken = /^\d+$/.test(address ?? "") && Number(address) < pair.nll.clean.length;
    return isToken ? address : "";
  }

  function read() {
    const wanted = Number(view.get("example") ?? 0);
    const example = data.pairs[wanted] ? wanted : 0;
    const token = tokenIn(view.get("token"), data.pairs[example]);
    choice = { example, head: headIn(view.get("head")), token };
  }

  // ------------------------------------------------------------- what is shown

  // (tokens,) where the chosen head looks in a run; null without a head.
  async function looksIn(pair, run, { head, token }) {
    const packed = pair.attention[head]?.[run];
    if (!packed) return null;
    return exampleText.attention(await report.unpack(packed), pair, data.parts, token);
  }

  function list(words, id, rows, value, change) {
    const select = el("select", { id, onchange: (event) => change(event.target.value) });
    report.fillSelect(select, rows, value);
    return el("label", {}, words, select);
  }

  function hint({ head, token }) {
    if (!head) return null;
    const from =
      token === ""
        ? "mean over the summary's tokens"
        : `where it stands before token ${Number(token) + 1}`;
    return el("span", { class: "hint" }, `${from}; a click on a token chooses it`);
  }

  function lists() {
    const pairs = data.pairs.map((pair, i) => [String(i), pair.id]);
    const heads = [["", "no head"], ...data.heads.map((head) => [head, head])];
    const { example, head } = choice;
    const chooseExample = (value) => choose({ example: Number(value), token: "" });
    return el(
      "div",
      { class: "choice" },
      list("Example ", "example", pairs, String(example), chooseExample),
      list("Attention of ", "example-head", heads, head, (value) => choose({ head: value })),
      hint(choice),
    );
  }

  async function draw() {
    const [pair, drawn] = [data.pairs[choice.example], choice];
    const runs = ["clean", "corrupted"];
    const looks = await Promise.all(runs.map((run) => looksIn(pair, run, drawn)));
    if (drawn !== choice) return; // something else was chosen meanwhile
    const texts = runs.map((run, i) => exampleText.make(pair, run, looks[i]));
    byId("example-view").replaceChildren(
      lists(),
      report.exampleSummary.make(pair, choice.token, choose),
      el("div", { class: "example-texts" }, ...texts),
    );
  }

  function start() {
    data = JSON.parse(byId("examples-data").textContent);
    if (!data || !byId("example-view")) return;
    read();
    view.onChange(() => {
      read();
      draw();
    });
    draw();
  }

  return { start };
})();
