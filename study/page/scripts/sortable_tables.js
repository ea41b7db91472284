// Tables: sorted by a click on a head, copied, saved as CSV; a cell keeps the number of the JSON.
"use strict";

report.tables = (() => {
  const valueOf = (cell) => cell.dataset.value ?? cell.textContent;

  function compare(a, b) {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const [n, m] = [Number(x), Number(y)];
    if (!Number.isNaN(n) && !Number.isNaN(m)) return n - m;
    return x.localeCompare(y, "en", { numeric: true });
  }

  function sort(table, column, head) {
    const upward = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", upward > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const hidden = rows.filter((row) => row.classList.contains("more")).length;
    rows.sort((a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      const empty = valueOf(x) === "" || valueOf(y) === "";
      return (empty ? 1 : upward) * compare(x, y);
    });
    rows.forEach((row, i) => row.classList.toggle("more", i >= rows.length - hidden));
    body.append(...rows);
  }

  function cells(table, of) {
    return [...table.rows].map((row) => [...row.cells].map((cell) => of(cell)));
  }

  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const plain = (cell) => (cell.tagName === "TH" ? cell.textContent : valueOf(cell));
  const asCsv = (table) =>
    cells(table, plain)
      .map((row) => row.map(quoted).join(","))
      .join("\r\n") + "\r\n";
  const asText = (table) =>
    cells(table, plain)
      .map((row) => row.map((t) => t.replace(/\s+/g, " ")).join("\t"))
      .join("\n");

  function prepare(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.addEventListener("click", () => sort(table, column, head));
    });
  }

  function start() {
    document.querySelectorAll("table.sortable").forEach(prepare);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button.copy, button.csv, button.all-rows");
      const table = button?.closest(".table")?.querySelector("table");
      if (!table) return;
      if (button.matches(".copy")) report.copy(asText(table), "Table copied.");
      if (button.matches(".csv")) {
        const name = button.dataset.name.replace(/[^\p{L}\p{N}.]+/gu, "_").slice(0, 60);
        report.download(`${name || "table"}.csv`, asCsv(table), "text/csv");
      }
      if (button.matches(".all-rows")) {
        table.querySelectorAll("tr.more").forEach((row) => row.classList.remove("more"));
        button.remove();
      }
    });
  }

  return { start, prepare, asCsv };
})();
