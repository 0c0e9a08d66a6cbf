// What a Gauntlet policy in AssemblyScript is written with, for contract gauntlet:policy@1.0.0.
//
// The policy is in policy.ts: configure, relabel, inputs and admit. It must depend on its settings, its context and the
// series alone, since the gateway remembers verdicts: nothing is kept between calls but what `configure` made.

/** One label of a series. */
export class Label {
  constructor(public name: string, public value: string) {}
}

/** The labels of one series, and what becomes of it. One that is left alone is kept. */
export class Series {
  changed: bool = false;
  reason: string | null = null;
  /** The stream in which it travels from here on; a decision may route it. */
  stream: string | null = null;
  budget: string | null = null;
  maxActiveSeries: u64 = 0;

  constructor(public labels: Label[]) {}

  /** Empty where there is no such label. */
  value(name: string): string {
    const at = this.find(name);
    return at < 0 ? "" : this.labels[at].value;
  }

  /** Adds the label or changes its value. An empty value removes it. */
  set(name: string, value: string): void {
    const at = this.find(name);
    if (value.length == 0) {
      this.remove(name);
    } else if (at < 0) {
      this.labels.push(new Label(name, value));
      this.changed = true;
    } else if (this.labels[at].value != value) {
      this.labels[at].value = value;
      this.changed = true;
    }
  }

  remove(name: string): void {
    const at = this.find(name);
    if (at < 0) return;
    this.labels.splice(at, 1);
    this.changed = true;
  }

  /** Drops the series. The reason is counted and shown: one of a few short words. */
  drop(reason: string): void {
    this.reason = reason;
  }

  /** Counts against a budget: new series are refused where it has as many active ones already. */
  assignBudget(name: string, maxActiveSeries: u64): void {
    this.budget = name;
    this.maxActiveSeries = maxActiveSeries;
  }

  toString(): string {
    let shown = "{";
    for (let i = 0; i < this.labels.length; i++) {
      shown += (i > 0 ? ", " : "") + this.labels[i].name + '="' + this.labels[i].value + '"';
    }
    return shown + "}";
  }

  private find(name: string): i32 {
    for (let i = 0; i < this.labels.length; i++) if (this.labels[i].name == name) return i;
    return -1;
  }
}

/** Where a policy is in force. The first upstream takes what is not routed. */
export class Context {
  constructor(public tenant: string, public upstreams: string[]) {}
}

/** What a stream carries; the default stream has no name. */
export class StreamTotals {
  constructor(
    public name: string,
    public series: u64,
    public samples: u64,
    public histograms: u64,
    public exemplars: u64,
  ) {}
}

/** One write, after every series was judged. Of what `inputs` does not name the numbers are zero. */
export class Write {
  constructor(
    public tenant: string,
    public subject: string,
    public protocol: string,
    public compressedBytes: u64,
    public decodedBytes: u64,
    public activeSeries: u64,
    public newSeries: u64,
    public streams: StreamTotals[],
  ) {}
}

class Charge {
  constructor(public bucket: string, public tokens: u64, public perSecond: f64, public burst: u64) {}
}

/** About a write. An empty one admits it. */
export class Decision {
  charges: Charge[] = [];
  routes: Label[] = [];
  rejected: string | null = null;

  /** Refuses the write for good (400); the text is shown to the sender. */
  static reject(text: string): Decision {
    const decision = new Decision();
    decision.rejected = text;
    return decision;
  }

  /** Tokens to take from a bucket that the gateway keeps. */
  charge(bucket: string, tokens: u64, perSecond: f64, burst: u64): void {
    this.charges.push(new Charge(bucket, tokens, perSecond, burst));
  }

  route(stream: string, upstream: string): void {
    this.routes.push(new Label(stream, upstream));
  }
}

/** What decisions depend on, besides tenant, subject, protocol and the streams' names. Added up. */
export enum Inputs {
  Nothing = 0,
  CompressedBytes = 1,
  DecodedBytes = 2,
  ActiveSeries = 4,
  NewSeries = 8,
  Totals = 16,
}

export enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

// @ts-ignore: decorator
@external("gauntlet:policy/log@1.0.0", "write")
declare function write(level: i32, ptr: usize, len: usize): void;

/** Bounded lines in the gateway's log. */
export function log(level: Level, text: string): void {
  const bytes = String.UTF8.encode(text);
  write(level, changetype<usize>(bytes), bytes.byteLength);
}

/** Settings: flat JSON of strings and numbers. Lists and mappings are beyond this reader; bring a JSON library for them. */
export class Settings {
  /** What is wrong with them, if anything is. */
  wrong: string | null = null;
  private texts: Map<string, string> = new Map();
  private numbers: Map<string, f64> = new Map();
  private at: i32 = 0;

  /** A key that is in neither list is wrong, and so is a value of the other kind. */
  constructor(private json: string, texts: string[], numbers: string[]) {
    let more = this.takes("{");
    if (!more) this.wrong = "settings must be a mapping";
    if (this.takes("}")) more = false;
    while (more && this.wrong === null) {
      const key = this.takes('"') ? this.text() : this.fails("expected a key");
      if (!this.takes(":")) this.fails("expected a value");
      const isText = this.takes('"');
      if (this.wrong !== null) break;
      if (!texts.includes(key) && !numbers.includes(key)) this.wrong = "unknown key `" + key + "`";
      else if (isText != texts.includes(key)) this.wrong = key + " must be a " + (isText ? "number" : "string");
      else if (isText) this.texts.set(key, this.text());
      else this.numbers.set(key, this.number());
      more = this.takes(",");
      if (!more && this.wrong === null && !this.takes("}")) this.fails("expected `,` or `}`");
    }
  }

  string(key: string): string {
    return this.texts.has(key) ? this.texts.get(key) : "";
  }

  float(key: string, otherwise: f64): f64 {
    return this.numbers.has(key) ? this.numbers.get(key) : otherwise;
  }

  private fails(what: string): string {
    if (this.wrong === null) this.wrong = "settings are not JSON: " + what + " at character " + this.at.toString();
    return "";
  }

  private takes(sign: string): bool {
    while (this.at < this.json.length && " \t\r\n".includes(this.json.charAt(this.at))) this.at++;
    const takes = this.json.charAt(this.at) == sign;
    if (takes) this.at++;
    return takes;
  }

  private number(): f64 {
    const from = this.at;
    while (this.at < this.json.length && "+-.0123456789eE".includes(this.json.charAt(this.at))) this.at++;
    if (from == this.at) this.wrong = "expected a string or a number";
    return parseFloat(this.json.substring(from, this.at));
  }

  /** Behind its opening quote. */
  private text(): string {
    let text = "";
    while (this.at < this.json.length) {
      const sign = this.json.charAt(this.at++);
      if (sign == '"') return text;
      if (sign != "\\") {
        text += sign;
        continue;
      }
      const escaped = this.json.charAt(this.at++);
      const control = "bfnrt".indexOf(escaped);
      if (escaped == "u") {
        text += String.fromCharCode(<i32>parseInt(this.json.substring(this.at, this.at + 4), 16));
        this.at += 4;
      } else {
        text += control < 0 ? escaped : "\b\f\n\r\t".charAt(control);
      }
    }
    return this.fails("a string does not end");
  }
}
