// The summary of a pair token by token: what each costs in three runs; a click chooses it.
"use strict";

report.exampleSummary = (() => {
  const { el } = report;
  const { number } = report.numbers;
  const RUNS = ["clean", "circuit", "corrupted"];
  const HIGHEST = 34; // pixels, of the bar of the token that costs most

  function mean(values) {
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  }

  // A token under its bars; `choose` is called with its number, or "" to let it go.
  function tokenButton(pair, i, most, { isChosen, choose }) {
    const costs = RUNS.map((run) => `${run} ${number(pair.nll[run][i])}`);
    const bars = RUNS.map((run) => {
      const height = (HIGHEST * pair.nll[run][i]) / most;
      return el("i", { class: `run-${run}`, style: `height:${height}px` });
    });
    const attributes = {
      type: "button",
      class: "token",
      "aria-pressed": String(isChosen),
      title: `${costs.join(", ")} nats`,
      onclick: () => choose({ token: isChosen ? "" : String(i) }),
    };
    const text = report.exampleText.shown(pair.tokens[pair.target_start + i]);
    return el("button", attributes, el("span", { class: "bars" }, ...bars), el("bdi", {}, text));
  }

  function make(pair, token, choose) {
    const most = Math.max(...RUNS.flatMap((run) => pair.nll[run]), 1e-6);
    const numbers = [...Array(pair.tokens.length - pair.target_start).keys()];
    const buttons = numbers.map((i) =>
      tokenButton(pair, i, most, { isChosen: token === String(i), choose }),
    );
    const key = RUNS.map((run) =>
      el("span", { class: `run-${run}` }, el("i", {}), `${run} ${number(mean(pair.nll[run]))}`),
    );
    const means = el("small", { class: "run-key" }, "NLL in nats, mean: ", ...key);
    const head = el("h4", {}, "The summary, token by token", means);
    return el(
      "div",
      { class: "example-summary" },
      head,
      el("div", { class: "tokens" }, ...buttons),
    );
  }

  return { make };
})();
