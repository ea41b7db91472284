// The legend under the drawing: what the colours of edges and the user's groups mean.
"use strict";

report.legend = (() => {
  const { el } = report;
  const SLOT_WORDS = ["read as query", "key", "value", "MLP", "logits"];

  function line(colour, words, { dashed = false } = {}) {
    const sample = el("i", { class: dashed ? "dashed" : "", style: `border-color:${colour}` });
    return el("span", {}, sample, words);
  }

  function partLines({ circuit, other }, { parts }) {
    return [
      line(parts.here, `only ${circuit.name}`),
      line(parts.there, `only ${other.name}`),
      line(parts.both, "both"),
    ];
  }

  function slotLines({ slots }) {
    return SLOT_WORDS.map((words, i) => line(slots[i], words));
  }

  function signLine(colours) {
    return line(colours.soft, "dashed: ablating it lowers the metric", { dashed: true });
  }

  function show(element, state, { colours, groups }) {
    const edges = state.other ? partLines(state, colours) : slotLines(colours);
    const signs = state.circuit.score ? [signLine(colours)] : [];
    const marks = [...groups].map(([name, colour]) => line(colour, name));
    element.replaceChildren(...edges, ...signs, ...marks);
  }

  return { show };
})();
