// Edges that come and go, for a moment, from one checkpoint to the next.
"use strict";

report.EdgeFade = class {
  static DURATION = 320; // milliseconds
  static MOST = 800; // edges that are drawn often enough to be seen to move

  // `paint` draws all anew.
  constructor(paint) {
    this.paint = paint;
    this.before = null; // the edges that passed at the checkpoint before, while they go
    this.progress = 1; // from 0 to 1
  }

  start(before) {
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (isCalm || before.edges.length > report.EdgeFade.MOST) return;
    this.before = before;
    this.since = performance.now();
    this.next();
  }

  next() {
    this.frame = requestAnimationFrame(() => {
      this.progress = (performance.now() - this.since) / report.EdgeFade.DURATION;
      if (this.progress < 1) this.next();
      else this.stop();
      this.paint();
    });
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.before = null;
    this.progress = 1;
  }
};
