// What the counts of a window say about how mail does. Pure.

import { count } from "./words.js";

const RATIOS = [
  { name: "delivered", called: "Delivered", of: ["delivered"], outOf: ["send"], noun: "sent" },
  { name: "opened", called: "Opens", of: ["open"], times: "open", outOf: ["delivered", "send"], noun: ["delivered", "sent"] },
  { name: "clicked", called: "Clicks", of: ["click"], times: "click", outOf: ["delivered", "send"], noun: ["delivered", "sent"] },
  { name: "bounced", called: "Bounced", of: ["hard_bounce", "soft_bounce"], outOf: ["send"], noun: "sent" },
  { name: "complaints", called: "Complaints", of: ["spam"], outOf: ["delivered", "send"], noun: ["delivered", "sent"] },
];

/**
 * Each ratio with the numbers it comes from. They count events, not messages: one message may be opened often, and
 * what was sent before the window may be delivered in it, so a ratio may exceed one. `ratio` is null without a base.
 * Opens and the like are compared with deliveries, or with sends where the webhook does not report deliveries.
 */
export function ratios(totals) {
  const sum = (kinds) => kinds.reduce((all, kind) => all + (totals.get(kind) ?? 0), 0);
  return RATIOS.map(({ name, called, of, times, outOf, noun }) => {
    const at = Math.max(0, outOf.findIndex((kind) => sum([kind]) > 0));
    const base = sum([outOf[at]]);
    const part = sum(of);
    const numbers = wording(part, base, times, [noun].flat()[at]);
    return { name, called, part, base, numbers, ratio: base > 0 ? part / base : null };
  });
}

/** A message may be opened often, so opens are not so many of the delivered: they are beside them. */
function wording(part, base, times, noun) {
  if (base === 0) return `none ${noun}`;
  const of = `${base.toLocaleString()} ${noun}`;
  return times ? `${count(part, times)}, ${of}` : `${part.toLocaleString()} of ${of}`;
}

/** A ratio in few characters, never rounded to nothing or to all. */
export function percent(ratio) {
  if (ratio === null) return "–";
  const value = ratio * 100;
  if (value === 0) return "0 %";
  if (value < 0.1) return "< 0.1 %";
  if (value < 100 && value >= 99.95) return "99.9 %";
  return `${value < 10 || (value > 90 && value < 100) ? value.toFixed(1) : Math.round(value).toLocaleString()} %`;
}
