// The component model's canonical ABI by hand: what the contract's functions take and give, as it lies in memory. Whatever
// crosses is outside of the collector's heap and freed after the call, and the collector runs then only.

import { Context, Decision, Label, Level, Series, StreamTotals, Write, log } from "./gauntlet";
import * as policy from "./policy";

let crossing: usize[] = [];
let judged: Series | null = null;

function room(size: usize): usize {
  const at = heap.alloc(size);
  crossing.push(at);
  return at;
}

export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const at = room(size);
  memory.copy(at, old, min(oldSize, size));
  return at;
}

function free(answer: usize): void {
  for (let i = 0; i < crossing.length; i++) heap.free(crossing[i]);
  crossing.length = 0;
  judged = null;
  __collect();
}

export { free as cabi_post_configure };
export { free as cabi_post_relabel };
export { free as cabi_post_relabelPacked };
export { free as cabi_post_admit };

/** What an `Error` or an assertion ends in: the log has its text and the series, and the call is over. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const series = judged;
  const place = (file === null ? "" : file) + ":" + line.toString() + ":" + column.toString();
  const text = (message === null ? "abort" : message) + " at " + place;
  log(Level.Error, series === null ? text : text + ", judging " + series.toString());
  unreachable();
}

// --- What comes in. ---

function text(at: usize, size: usize): string {
  return size == 0 ? "" : String.UTF8.decodeUnsafe(at, size);
}

function textAt(at: usize): string {
  return text(load<u32>(at), load<u32>(at, 4));
}

function texts(at: usize, count: usize): string[] {
  const out = new Array<string>(<i32>count);
  for (let i: usize = 0; i < count; i++) out[<i32>i] = textAt(at + i * 8);
  return out;
}

function streams(at: usize, count: usize): StreamTotals[] {
  const out = new Array<StreamTotals>(<i32>count);
  for (let i: usize = 0; i < count; i++) {
    const e = at + i * 40;
    out[<i32>i] = new StreamTotals(textAt(e), load<u64>(e, 8), load<u64>(e, 16), load<u64>(e, 24), load<u64>(e, 32));
  }
  return out;
}

// --- What goes out. ---

function giveText(at: usize, given: string): void {
  const size = String.UTF8.byteLength(given);
  const to = room(size);
  String.UTF8.encodeUnsafe(changetype<usize>(given), given.length, to);
  store<u32>(at, <u32>to);
  store<u32>(at, size, 4);
}

function giveList(at: usize, count: i32, size: i32): usize {
  const to = room(count * size);
  memory.fill(to, 0, count * size);
  store<u32>(at, <u32>to);
  store<u32>(at, count, 4);
  return to;
}

function giveLabels(at: usize, labels: Label[]): void {
  const to = giveList(at, labels.length, 16);
  for (let i = 0; i < labels.length; i++) {
    giveText(to + i * 16, labels[i].name);
    giveText(to + i * 16 + 8, labels[i].value);
  }
}

function giveVerdict(at: usize, series: Series): void {
  const reason = series.reason, stream = series.stream, budget = series.budget;
  if (reason !== null) {
    store<u8>(at, 1);
    giveText(at + 8, reason);
    return;
  }
  if (!series.changed && stream === null && budget === null) return;
  store<u8>(at, 2);
  if (series.changed) {
    store<u8>(at, 1, 8);
    giveLabels(at + 12, series.labels);
  }
  if (stream !== null) {
    store<u8>(at, 1, 20);
    giveText(at + 24, stream);
  }
  if (budget !== null) {
    store<u8>(at, 1, 32);
    giveText(at + 40, budget);
    store<u64>(at, series.maxActiveSeries, 48);
  }
}

function answer(): usize {
  const at = room(24);
  memory.fill(at, 0, 24);
  return at;
}

function judge(at: usize, labels: Label[]): void {
  const series = new Series(labels);
  judged = series;
  policy.relabel(series);
  giveVerdict(at, series);
}

export function configure(s: usize, sn: usize, t: usize, tn: usize, u: usize, un: usize): usize {
  const wrong = policy.configure(text(s, sn), new Context(text(t, tn), texts(u, un)));
  const out = answer();
  if (wrong !== null) {
    store<u8>(out, 1);
    giveText(out + 4, wrong);
  }
  return out;
}

export function relabel(at: usize, count: usize): usize {
  const out = answer();
  const verdicts = giveList(out + 4, <i32>count, 56);
  for (let i: usize = 0; i < count; i++) {
    const from = <usize>load<u32>(at + i * 8), n = load<u32>(at + i * 8, 4);
    const labels = new Array<Label>(n);
    for (let j: u32 = 0; j < n; j++) labels[j] = new Label(textAt(from + j * 16), textAt(from + j * 16 + 8));
    judge(verdicts + i * 56, labels);
  }
  return out;
}

export function relabelPacked(all: usize, _: usize, lengths: usize, __: usize, counts: usize, count: usize): usize {
  const out = answer();
  const verdicts = giveList(out + 4, <i32>count, 56);
  for (let i: usize = 0; i < count; i++) {
    const n = load<u32>(counts + i * 4);
    const labels = new Array<Label>(n);
    for (let j: u32 = 0; j < n; j++) {
      const name = load<u32>(lengths), value = load<u32>(lengths, 4);
      labels[j] = new Label(text(all, name), text(all + name, value));
      all += name + value;
      lengths += 8;
    }
    judge(verdicts + i * 56, labels);
  }
  return out;
}

export function admissionInputs(): i32 {
  return policy.inputs();
}

export function admit(
  t: usize, tn: usize, s: usize, sn: usize, p: usize, pn: usize,
  compressed: u64, decoded: u64, active: u64, fresh: u64, at: usize, count: usize,
): usize {
  const write = new Write(text(t, tn), text(s, sn), text(p, pn), compressed, decoded, active, fresh, streams(at, count));
  const decision: Decision = policy.admit(write);
  const out = answer();
  const rejected = decision.rejected;
  if (rejected !== null) {
    store<u8>(out, 1, 4);
    giveText(out + 8, rejected);
    return out;
  }
  const charges = giveList(out + 8, decision.charges.length, 32);
  for (let i = 0; i < decision.charges.length; i++) {
    const charge = decision.charges[i], to = charges + i * 32;
    giveText(to, charge.bucket);
    store<u64>(to, charge.tokens, 8);
    store<f64>(to, charge.perSecond, 16);
    store<u64>(to, charge.burst, 24);
  }
  giveLabels(out + 16, decision.routes);
  return out;
}
