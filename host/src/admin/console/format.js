// Numbers and times as people read them.
//
// Takes plain numbers, gives text in one form for each kind, with its unit. Never rounds a count.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTH = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const FINE = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const EXACT = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const HOUR = new Intl.DateTimeFormat("sv", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("sv", { year: "numeric", month: "2-digit", day: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("sv", {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

/** What stands where there is no number. */
export const NONE = "–";
/** Between a number and its unit: no line ends there. */
const GAP = "\u00a0";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** To the last digit. */
export const count = (value) => (isNumber(value) ? WHOLE.format(value) : NONE);

/** What may be a part of one, as it was written. */
export const exact = (value) => (isNumber(value) ? EXACT.format(value) : NONE);

/** Per second. */
export function rate(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0 || value >= 99.95) return WHOLE.format(value);
  return value < 0.1 ? FINE.format(value) : TENTH.format(value);
}

export const perSecond = (value) => `${rate(value)}/s`;

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || value >= 100 ? WHOLE.format(value) : TENTH.format(value).replace(/\.0$/, "");
  return `${text}${GAP}${units[unit]}`;
}

/** How long something takes. */
export function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds === 0) return `0${GAP}s`;
  if (seconds < 1e-3) return `${FINE.format(seconds * 1e6)}${GAP}µs`;
  if (seconds < 1) return `${seconds < 0.01 ? FINE.format(seconds * 1e3) : WHOLE.format(seconds * 1e3)}${GAP}ms`;
  if (seconds < 10) return `${TENTH.format(seconds)}${GAP}s`;
  if (seconds < 120) return `${WHOLE.format(seconds)}${GAP}s`;
  if (seconds < 7200) return `${WHOLE.format(seconds / 60)}${GAP}min`;
  if (seconds < 172800) return `${WHOLE.format(seconds / 3600)}${GAP}h`;
  return `${WHOLE.format(seconds / 86400)}${GAP}days`;
}

export function ago(seconds) {
  if (!isNumber(seconds)) return NONE;
  const whole = Math.round(seconds);
  if (whole < 1) return "just now";
  return `${whole < 120 ? `${whole}${GAP}s` : span(whole)} ago`;
}

/** Of a Unix time, by the clock of whoever reads it. */
export const clock = (seconds) => (isNumber(seconds) ? CLOCK.format(new Date(seconds * 1000)) : NONE);

/** The same without the day, of what was within hours. */
export const hourOf = (seconds) => (isNumber(seconds) ? HOUR.format(new Date(seconds * 1000)) : NONE);

/** The end of a certificate in the words of a credential as a day. */
export const dated = (identity) =>
  identity?.replace(/\bnot_after=(\d{1,12})\b/, (_, seconds) => `valid until ${DAY.format(new Date(seconds * 1000))}`);

/** Not each refusal is kept: of one kind only a few in some time, and of one tenant only so many. */
export const timesOrMore = (often) => `${count(often)} or more times`;

export function percent(part, whole) {
  if (!isNumber(part) || !isNumber(whole) || whole <= 0) return NONE;
  const share = (part / whole) * 100;
  if (share > 0 && share < 0.1) return `<0.1${GAP}%`;
  return `${share >= 10 || share === 0 ? WHOLE.format(share) : TENTH.format(share)}${GAP}%`;
}

/** A number with what it counts: `1 tenant`, `2 tenants`. */
export const of = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** A value with the unit that the API names. */
export const inUnit = (value, unit) =>
  unit === "bytes" ? bytes(value) : unit === "tokens" ? exact(value) : count(value);
