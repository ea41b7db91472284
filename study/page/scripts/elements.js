// Elements of the page: those that it has, by their id, and new ones made from data.
"use strict";
window.report = {};

report.byId = (id) => document.getElementById(id);

// An element with attributes, listeners and children; texts are texts, whatever they hold.
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

// A list of options; `rows` are [value, words].
report.fillSelect = (select, rows, value) => {
  const options = rows.map(([key, words]) =>
    report.el("option", { value: key, selected: key === value }, words),
  );
  select.replaceChildren(...options);
  select.value = value;
};
