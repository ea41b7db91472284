// The head of what stands beside the drawing: a title, a few words, a button that lets go.
"use strict";

report.panelTitle = (title, words, ...more) => {
  const { el } = report;
  const beside = words ? el("span", {}, words) : null;
  return el("div", { class: "panel-head" }, el("h3", {}, title), beside, ...more);
};

// With a button that lets the node or the edge go.
report.panelHead = (title, words = "") => {
  const look = { type: "button", class: "close", "data-close": true, "aria-label": "Let go" };
  return report.panelTitle(title, words, report.el("button", look, "×"));
};
