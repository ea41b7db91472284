// What the page does outside itself: a file saved, a text copied, a line said for a moment.
"use strict";

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
  const toast = report.byId("toast");
  toast.textContent = words;
  toast.classList.add("there");
  clearTimeout(report.say.timer);
  report.say.timer = setTimeout(() => toast.classList.remove("there"), 2600);
};
