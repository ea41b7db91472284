// The slider of edges: from a few at its left end to all that pass at its right one, logarithmic.
"use strict";

report.edgeSlider = (() => {
  const { FEWEST, MOST } = report.choices;
  const END = 100;

  // Where the slider stands for so many edges, of so many that pass.
  function position(most, passed) {
    const highest = Math.min(passed, MOST);
    if (highest <= FEWEST || most >= highest) return END;
    const share = Math.log(Math.max(most, FEWEST) / FEWEST) / Math.log(highest / FEWEST);
    return Math.round(END * share);
  }

  // How many edges a position of the slider is, of so many that pass.
  function edges(place, passed) {
    const highest = Math.max(Math.min(passed, MOST), FEWEST);
    if (place >= END) return highest;
    return Number((FEWEST * (highest / FEWEST) ** (place / END)).toPrecision(2));
  }

  return { position, edges };
})();
