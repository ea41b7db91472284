// Numbers as people read them: few digits, no -0, decimals that an interval supports.
"use strict";

report.numbers = (() => {
  const count = (value) => value.toLocaleString("en-US");
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
  const withMinus = (text) => text.replace("-", "−");

  // A number with three significant digits.
  function number(value, digits = 3) {
    if (value === 0) return "0";
    if (!Number.isFinite(value)) return "–";
    if (Number.isInteger(value)) return count(value);
    const size = Math.abs(value);
    const isOrdinary = size >= 1e-4 && size < 1e6;
    return withMinus(isOrdinary ? value.toPrecision(digits) : value.toExponential(digits - 1));
  }

  function fixed(value, places) {
    const text = value.toFixed(places);
    return withMinus(Number(text) === 0 ? text.replace("-", "") : text);
  }

  // Decimals that an interval supports, as study/findings.py has them: two digits of its width
  // where that begins with 1, 2 or 3, else one.
  function decimals(width) {
    const magnitude = width > 0 ? Math.floor(Math.log10(width)) : -4;
    const isShort = width / 10 ** magnitude < 3.55;
    return Math.min(6, Math.max(0, (isShort ? 1 : 0) - magnitude));
  }

  // A score's text and that of its interval, which is empty where the score has none.
  function withInterval({ value, low, high }) {
    if (low === undefined || Number.isNaN(low)) return { text: number(value), interval: "" };
    const places = decimals(high - low);
    const interval = `[${fixed(low, places)}, ${fixed(high, places)}]`;
    return { text: fixed(value, places), interval };
  }

  // The same in one line; empty for no score.
  function inOneLine(score) {
    if (score === null) return "";
    const { text, interval } = withInterval(score);
    return interval ? `${text} ${interval}` : text;
  }

  return { number, count, percent, withInterval, inOneLine };
})();
