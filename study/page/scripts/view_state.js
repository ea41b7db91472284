// The view: what is chosen, in the address behind "#", in the saved file, and what the user noted.
"use strict";

report.view = (() => {
  // The file as it was delivered: what "save" writes again. Taken when all of it is read and no
  // script has changed it yet.
  let pristine = "";
  let chosen = {};
  const listeners = [];
  let notes = {}; // graph number -> node name -> {label, group}
  let unsaved = false;

  function parse(text) {
    const values = {};
    for (const [name, value] of new URLSearchParams(text.replace(/^#/, ""))) values[name] = value;
    return values;
  }

  function encoded(values) {
    return Object.entries(values)
      .filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([name, value]) => `${name}=${encodeURIComponent(value).replace(/%2B/g, "%2B")}`)
      .join("&");
  }

  function start() {
    pristine = document.documentElement.outerHTML;
    const saved = JSON.parse(report.byId("saved-view").textContent);
    notes = saved.notes || {};
    chosen = location.hash.includes("=") ? parse(location.hash) : saved.chosen || {};
  }

  function replace(values) {
    chosen = { ...values };
    const hash = encoded(chosen);
    // Chromium refuses more than some changes of the address a second.
    clearTimeout(replace.timer);
    replace.timer = setTimeout(
      () => history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search),
      120,
    );
  }

  function address() {
    const hash = encoded(chosen);
    return location.href.split("#")[0] + (hash ? "#" + hash : "");
  }

  function escaped(data) {
    return JSON.stringify(data).replace(
      /[<>&\u007f-\uffff]/g,
      (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
    );
  }

  function asFile() {
    const mark = `<script type="application/json" id="${"saved-view"}">`; // is not found here
    const from = pristine.lastIndexOf(mark) + mark.length;
    const to = pristine.indexOf("</" + "script>", from);
    const saved = escaped({ chosen, notes });
    return "<!DOCTYPE html>\n" + pristine.slice(0, from) + saved + pristine.slice(to) + "\n";
  }

  function save() {
    const name = decodeURIComponent(location.pathname.split("/").pop() || "report.html");
    const stem = name.replace(/(-view)?\.html?$/, "");
    report.download(`${stem}-view.html`, asFile(), "text/html");
    unsaved = false;
    const isLabelled = Object.keys(notes).length > 0;
    report.say(`Saved with this view${isLabelled ? " and your labels" : ""}.`);
  }

  function note(graph, node, values) {
    const ofGraph = (notes[graph] = notes[graph] || {});
    const kept = { ...ofGraph[node], ...values };
    if (kept.label || kept.group) ofGraph[node] = kept;
    else delete ofGraph[node];
    unsaved = true;
  }

  window.addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return;
    chosen = parse(location.hash);
    listeners.forEach((listener) => listener());
  });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });

  return {
    start,
    replace,
    address,
    save,
    asFile,
    note,
    get: (name) => chosen[name],
    all: () => ({ ...chosen }),
    notes: (graph) => notes[graph] || {},
    onChange: (listener) => listeners.push(listener),
  };
})();
