// The checkpoints of a run one after another: by slider and keys, and on their own.
"use strict";

report.CheckpointPlayer = class {
  static INTERVAL = 1100; // milliseconds

  constructor(explorer) {
    this.explorer = explorer;
    this.timer = null;
  }

  get position() {
    const { sequence, circuit } = this.explorer.state;
    return sequence.indexOf(circuit);
  }

  // Show the i-th checkpoint, if the run has one.
  show(i) {
    const { sequence, circuit } = this.explorer.state;
    if (i < 0 || i >= sequence.length || sequence[i] === circuit) return;
    this.explorer.choose({ circuit: sequence[i].name }, { fade: true });
  }

  isAtEnd() {
    return this.position >= this.explorer.state.sequence.length - 1;
  }

  // Begin to play, from the first checkpoint if this is the last; or stop.
  toggle() {
    if (this.timer !== null) {
      this.stop();
      return;
    }
    if (this.isAtEnd()) this.show(0);
    this.timer = setInterval(() => this.next(), report.CheckpointPlayer.INTERVAL);
    report.byId("play").textContent = "❚❚";
  }

  next() {
    if (this.isAtEnd()) this.stop();
    else this.show(this.position + 1);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    report.byId("play").textContent = "▶";
  }
};
