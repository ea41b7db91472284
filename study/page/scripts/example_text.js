// The text of a pair as the model reads it, clean or corrupted, and where a head looks.
"use strict";

report.exampleText = (() => {
  const { el } = report;
  const TITLES = { clean: "As the model reads it", corrupted: "Corrupted" };

  // A token so that it is seen: line breaks have a sign, an empty one too.
  const shown = (token) => token.replaceAll("\n", "⏎\n") || "∅";

  // (tokens,) a head's weight on every token of a pair, from one token of the summary, or ("") the
  // mean over all. `weights` are those of a run, a row a token of the summary, in `parts` of one.
  function attention(weights, pair, parts, token) {
    const n = pair.tokens.length;
    const rows = token === "" ? [...Array(n - pair.target_start).keys()] : [Number(token)];
    const means = new Float64Array(n);
    for (const row of rows) {
      for (let i = 0; i < n; i++) means[i] += weights[row * n + i] / parts / rows.length;
    }
    return means;
  }

  // Numbers of the tokens that corruption marks.
  function marked({ corrupted_spans: spans }) {
    const ranges = spans.map(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));
    return new Set(ranges.flat());
  }

  // A token that the head looks at is the warmer, the more it does.
  function heat(share, largest) {
    const alpha = (0.85 * Math.sqrt(share / largest)).toFixed(3);
    return share > 0 ? `background:rgba(var(--heat),${alpha})` : null;
  }

  function tokensOf(pair, run, looks) {
    const salient = marked(pair);
    const largest = looks && Math.max(...looks, 1e-9);
    return pair.tokens.slice(0, pair.target_start).map((token, i) => {
      const replaced = pair.replaced[i];
      const isSalient = salient.has(i) || replaced !== undefined;
      const attributes = { class: isSalient ? "salient" : "" };
      if (looks) {
        attributes.style = heat(looks[i], largest);
        attributes.title = `${(100 * looks[i]).toFixed(1)} %`;
      }
      const text = run === "corrupted" ? (replaced ?? token) : token;
      return el("span", attributes, shown(text));
    });
  }

  function attentionWords(pair, looks) {
    if (!looks) return "";
    const share = [...marked(pair)].reduce((sum, i) => sum + looks[i], 0);
    return `${report.numbers.percent(share)} of its attention on the marked tokens`;
  }

  // The text of a run; `looks` is what `attention` gives, null without a head.
  function make(pair, run, looks) {
    const words = el("small", {}, attentionWords(pair, looks));
    const head = el("h4", {}, TITLES[run], words);
    const tokens = tokensOf(pair, run, looks);
    return el("div", { class: "example-text" }, head, el("p", { dir: "auto" }, ...tokens));
  }

  return { make, attention, shown };
})();
