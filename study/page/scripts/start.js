// Everything begins here, once the page is read.
"use strict";

(() => {
  const enlarged = document.getElementById("enlarged");

  document.addEventListener("click", (event) => {
    const picture = event.target.closest("a.enlarge");
    if (picture) {
      event.preventDefault();
      enlarged.querySelector("img").src = picture.querySelector("img").src;
      enlarged.showModal();
    }
    const close = event.target.closest("dialog button.close");
    if (close || event.target === enlarged) event.target.closest("dialog").close();
    // Links inside the page scroll, and leave the view in the address alone.
    const link = event.target.closest('a[href^="#"]:not(.enlarge)');
    const target = link && document.getElementById(link.getAttribute("href").slice(1));
    if (target) {
      event.preventDefault();
      target.querySelectorAll(":scope > details").forEach((details) => {
        details.open = true;
      });
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      target.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
    }
  });

  report.view.start();
  report.tables.start();
  report.explorer.start();
  report.examples.start();
})();
