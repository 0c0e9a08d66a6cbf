/** What a Gauntlet policy in TypeScript is written with, for contract gauntlet:policy@1.0.0. */

/** Bounded lines in the gateway's log. */
export const log: Record<'debug' | 'info' | 'warn' | 'error', (message: string) => void>;

/**
 * The labels of one series by name, and what becomes of it. One that is left alone is kept. Setting a label to an empty text
 * removes it.
 */
export class Series extends Map<string, string> {
  static of(labels: { name: string; value: string }[]): Series;
  /** Drops the series. The reason is counted and shown: one of a few short words. */
  drop(reason: string): void;
  readonly reason: string | null;
  /** The stream in which it travels from here on, which a decision may route. */
  stream: string | null;
  /** What it counts against: new series are refused where the budget has as many active ones already. */
  budget: { name: string; maxActiveSeries: number } | null;
}

/** Where a policy is in force. The first upstream takes what is not routed. */
export interface Context {
  tenant: string;
  upstreams: string[];
}

export interface StreamTotals {
  /** Empty: the default stream. */
  name: string;
  series: number;
  samples: number;
  histograms: number;
  exemplars: number;
}

/** One write, after every series was judged. Of what `inputs` does not name the numbers are zero. */
export interface Write {
  tenant: string;
  subject: string;
  protocol: string;
  compressedBytes: number;
  decodedBytes: number;
  activeSeries: number;
  newSeries: number;
  streams: StreamTotals[];
}

/** Tokens to take from a bucket that the gateway keeps. */
export interface Charge {
  bucket: string;
  tokens: number;
  perSecond: number;
  burst: number;
}

/** Nothing of it: the write is admitted. */
export interface Decision {
  charges?: Charge[];
  /** Upstreams by stream. */
  routes?: Record<string, string>;
  /** Refuses the write for good (400); the text is shown to the sender. */
  reject?: string;
}

export type Input = 'compressedBytes' | 'decodedBytes' | 'activeSeries' | 'newSeries' | 'totals';

export interface Policy {
  /** Decides about one series by changing it. */
  relabel?(series: Series): void;
  admit?(write: Write): Decision | undefined;
  /** What decisions depend on, besides tenant, subject, protocol and the streams' names. */
  inputs?: Input[];
}

/** Settings are what JSON says. What the constructor throws is shown to the operator, and the settings are not used. */
export type PolicyClass = new (settings: unknown, context: Context) => Policy;

export type Kind = 'string' | 'number' | 'boolean' | 'list' | 'object';

/** Throws if a key is not known or its value is of another kind. */
export function checkSettings(settings: unknown, known: Record<string, Kind>): asserts settings is Record<string, any>;

/** The functions that the component exports: export them from the main file. */
export function exportPolicy(Policy: PolicyClass): {
  configure: Function;
  relabel: Function;
  relabelPacked: Function;
  admit: Function;
  admissionInputs: Function;
};
