// The rate over time as shapes. Pure: bars in, path texts out.

/** In units of the drawing. */
export const BOX = { width: 600, height: 100 };
const GAP = 2;

/**
 * Two paths over one base line: all events, and in front of them those that alarm. A step with any event is never
 * invisible.
 * @param {{total: number, alarming: number}[]} bars
 */
export function paths(bars) {
  const most = Math.max(1, ...bars.map((bar) => bar.total));
  const width = BOX.width / bars.length;
  const path = (count, least) =>
    bars
      .map((bar, at) => {
        if (count(bar) === 0) return "";
        const height = Math.max(least, (count(bar) / most) * BOX.height);
        return `M${at * width} ${BOX.height}v${-height.toFixed(2)}h${width - GAP}v${height.toFixed(2)}z`;
      })
      .join("");
  return { most, total: path((bar) => bar.total, 2), alarming: path((bar) => bar.alarming, 4) };
}

/** Which bar is under this share of the width. */
export function barAt(bars, share) {
  return bars[Math.min(bars.length - 1, Math.max(0, Math.floor(share * bars.length)))];
}

/** The chart in a sentence, for those who do not see it. */
export function sentence(bars, name, stepMs) {
  const sum = (pick) => bars.reduce((all, bar) => all + pick(bar), 0);
  const [total, alarming] = [sum((bar) => bar.total), sum((bar) => bar.alarming)];
  const most = Math.max(0, ...bars.map((bar) => bar.total));
  return `Events over the last ${name}: ${total.toLocaleString()}, of them ${alarming.toLocaleString()} bounced, ` +
    `rejected or complained; at most ${most.toLocaleString()} in ${stepMs / 1000} seconds`;
}
