// The view: what is chosen, in the address behind "#", in the saved file, and what the user noted.
"use strict";
window.report = {};

report.view = (() => {
  // The file as it was delivered: what "save" writes again. Taken when all of it is read and no
  // script has changed it yet.
  let pristine = "";
  const chosen = {};
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
    const saved = JSON.parse(document.getElementById("saved-view").textContent);
    notes = saved.notes || {};
    const address = location.hash.includes("=") ? parse(location.hash) : saved.chosen || {};
    Object.assign(chosen, address);
  }

  function replace(values) {
    for (const name of Object.keys(chosen)) delete chosen[name];
    Object.assign(chosen, values);
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

  function escaped(content) {
    return JSON.stringify(content).replace(
      /[<>&\u007f-\uffff]/g,
      (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
    );
  }

  function asFile() {
    const mark = `<script type="application/json" id="${"saved-view"}">`; // is not found here
    const start = pristine.lastIndexOf(mark) + mark.length;
    const end = pristine.indexOf("</" + "script>", start);
    const state = escaped({ chosen, notes });
    return "<!DOCTYPE html>\n" + pristine.slice(0, start) + state + pristine.slice(end) + "\n";
  }

  function save() {
    const name = decodeURIComponent(location.pathname.split("/").pop() || "report.html");
    report.download(name.replace(/(-view)?\.html?$/, "") + "-view.html", asFile(), "text/html");
    unsaved = false;
    report.say("Saved with this view" + (Object.keys(notes).length ? " and your labels." : "."));
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
    const address = parse(location.hash);
    for (const name of Object.keys(chosen)) delete chosen[name];
    Object.assign(chosen, address);
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

// An element with attributes and children; texts are texts, whatever they hold.
report.el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

report.svg = (tag, attributes = {}, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

report.download = (name, text, type) => {
  const link = report.el("a", {
    download: name,
    href: URL.createObjectURL(new Blob([text], { type })),
  });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

report.copy = async (text, words) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = report.el("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  report.say(words);
};

report.say = (words) => {
  const toast = document.getElementById("toast");
  toast.textContent = words;
  toast.classList.add("there");
  clearTimeout(report.say.timer);
  report.say.timer = setTimeout(() => toast.classList.remove("there"), 2600);
};

// A number with three significant digits; never -0.
report.number = (value, digits = 3) => {
  if (value === 0 || !Number.isFinite(value)) return value === 0 ? "0" : "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  const text =
    size < 1e-4 || size >= 1e6 ? value.toExponential(digits - 1) : value.toPrecision(digits);
  return text.replace("-", "−");
};
