// What a Gauntlet policy in JavaScript is written with, for contract gauntlet:policy@1.0.0. index.d.ts documents it.
//
// A policy is a class. It must depend on its settings, its context and the series alone, since the gateway remembers
// verdicts: no clock, no randomness, nothing that is kept between calls.

import { write } from '#log';

export const log = {
  debug: (message) => write('debug', message),
  info: (message) => write('info', message),
  warn: (message) => write('warn', message),
  error: (message) => write('error', message),
};

export class Series extends Map {
  changed = false;
  reason = null;
  stream = null;
  budget = null;

  static of(labels) {
    const series = new Series();
    for (const { name, value } of labels) series.add(name, value);
    return series;
  }

  // As it came, which is no change.
  add(name, value) {
    super.set(name, value);
  }

  set(name, value) {
    if (value === '') {
      this.delete(name);
    } else if (this.get(name) !== value) {
      super.set(name, value);
      this.changed = true;
    }
    return this;
  }

  delete(name) {
    const was = super.delete(name);
    this.changed ||= was;
    return was;
  }

  clear() {
    this.changed ||= this.size > 0;
    super.clear();
  }

  drop(reason) {
    this.reason = reason;
  }

  toString() {
    return `{${Array.from(this, ([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`;
  }
}

export function checkSettings(settings, known) {
  if (settings === null || typeof settings !== 'object' || Array.isArray(settings)) {
    throw new Error('settings must be a mapping');
  }
  for (const [key, value] of Object.entries(settings)) {
    if (!Object.hasOwn(known, key)) throw new Error(`unknown key \`${key}\`; known are ${Object.keys(known).join(', ')}`);
    const wanted = known[key];
    const is = Array.isArray(value) ? 'list' : typeof value;
    if (wanted !== is) throw new Error(`${key} must be a ${wanted}, not a ${is}`);
  }
}

// What an error says and, in the log, where it was.
function failure(error, series) {
  const text = `${error?.message ?? error}${series ? `, judging ${series}` : ''}`;
  log.error(`${text}\n${error?.stack ?? ''}`);
  return text;
}

function verdict(series) {
  if (series.reason !== null) return { tag: 'drop', val: series.reason };
  const { changed, stream, budget } = series;
  if (!changed && stream === null && budget === null) return { tag: 'keep' };
  const labels = changed ? Array.from(series, ([name, value]) => ({ name, value })) : undefined;
  return { tag: 'edit', val: { labels, stream: stream ?? undefined, budget: budget ?? undefined } };
}

function decision({ reject, charges = [], routes = {} } = {}) {
  if (reject !== undefined) return { tag: 'reject', val: reject };
  const listed = Object.entries(routes).map(([stream, upstream]) => ({ stream, upstream }));
  return { tag: 'admit', val: { charges, routes: listed } };
}

// The gateway's whole numbers come as numbers or as bigints, as the runtime has it.
function plain(write) {
  const numbers = (record) =>
    Object.fromEntries(Object.entries(record).map(([key, value]) => [key, typeof value === 'bigint' ? Number(value) : value]));
  return { ...numbers(write), streams: write.streams.map(({ name, totals }) => ({ name, ...numbers(totals) })) };
}

// Where a piece of `bytes` bytes ends that begins at `from`; JavaScript counts in UTF-16.
function endOf(text, from, bytes) {
  let at = from;
  while (bytes > 0) {
    const unit = text.charCodeAt(at++);
    const pair = unit >= 0xd800 && unit < 0xdc00;
    if (pair) at++;
    bytes -= unit < 0x80 ? 1 : unit < 0x800 ? 2 : pair ? 4 : 3;
  }
  return at;
}

// The series of `relabel-packed`, each as names and values in turn.
function* unpacked(text, lengths, counts) {
  const ascii = /^[\x00-\x7f]*$/.test(text);
  let from = 0;
  let next = 0;
  for (const count of counts) {
    const series = new Series();
    for (let label = 0; label < count; label++) {
      const middle = ascii ? from + lengths[next] : endOf(text, from, lengths[next]);
      const end = ascii ? middle + lengths[next + 1] : endOf(text, middle, lengths[next + 1]);
      series.add(text.slice(from, middle), text.slice(middle, end));
      from = end;
      next += 2;
    }
    yield series;
  }
}

export function exportPolicy(Policy) {
  let policy;

  function judge(series) {
    if (!policy.relabel) return { tag: 'keep' };
    try {
      policy.relabel(series);
    } catch (error) {
      throw failure(error, series);
    }
    return verdict(series);
  }

  return {
    configure(settings, context) {
      try {
        policy = new Policy(JSON.parse(settings), context);
      } catch (error) {
        // A text is the contract's error; what else is thrown would be a trap without a word.
        throw `${error?.message ?? error}`;
      }
    },
    relabel: (all) => all.map((labels) => judge(Series.of(labels))),
    relabelPacked: (text, lengths, counts) => Array.from(unpacked(text, lengths, counts), judge),
    admit(write) {
      try {
        return decision(policy.admit?.(plain(write)));
      } catch (error) {
        throw failure(error);
      }
    },
    admissionInputs: () => Object.fromEntries((policy.inputs ?? []).map((input) => [input, true])),
  };
}
