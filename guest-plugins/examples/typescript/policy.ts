// House rules: what every example of a policy does, in each language.
//
// Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
// cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.

import { checkSettings, exportPolicy, log } from 'gauntlet-policy';
import type { Context, Decision, Input, Policy, Series, Write } from 'gauntlet-policy';

export class MyPolicy implements Policy {
  private readonly cluster: string;
  private readonly kubeUpstream?: string;
  private readonly samplesPerSecond: number;

  constructor(settings: unknown, { tenant, upstreams }: Context) {
    checkSettings(settings, { cluster: 'string', kube_upstream: 'string', samples_per_second: 'number' });
    this.cluster = settings.cluster;
    this.kubeUpstream = settings.kube_upstream;
    this.samplesPerSecond = settings.samples_per_second ?? 1e6;
    if (!this.cluster) throw new Error('cluster is missing');
    if (this.kubeUpstream && !upstreams.includes(this.kubeUpstream)) {
      throw new Error(`kube_upstream: ${tenant} has no upstream \`${this.kubeUpstream}\``);
    }
    log.info(`house rules for cluster ${this.cluster}`);
  }

  relabel(series: Series): void {
    const name = series.get('__name__') ?? '';
    if (name.startsWith('go_')) {
      series.drop('go_metrics');
    } else if (name.startsWith('kube_')) {
      series.stream = 'kube';
    } else if (name.startsWith('debug_')) {
      series.budget = { name: 'debug', maxActiveSeries: 1000 };
    } else if (name !== 'up') {
      series.delete('replica');
      series.set('cluster', this.cluster);
    }
  }

  readonly inputs: Input[] = ['totals'];

  admit(write: Write): Decision {
    const samples = write.streams.reduce((sum, stream) => sum + stream.samples + stream.histograms, 0);
    if (samples > 5000) return { reject: 'more than 5000 samples in one write' };
    const decision: Decision = {
      charges: [{ bucket: 'samples', tokens: samples, perSecond: this.samplesPerSecond, burst: this.samplesPerSecond * 5 }],
    };
    if (this.kubeUpstream && write.streams.some((stream) => stream.name === 'kube')) {
      decision.routes = { kube: this.kubeUpstream };
    }
    return decision;
  }
}

export const { configure, relabel, relabelPacked, admit, admissionInputs } = exportPolicy(MyPolicy);
