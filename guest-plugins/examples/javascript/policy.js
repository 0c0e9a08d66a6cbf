// House rules: what every example of a policy does, in each language.
//
// Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
// cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.

import { checkSettings, exportPolicy, log } from 'gauntlet-policy';

export class MyPolicy {
  constructor(settings, { tenant, upstreams }) {
    checkSettings(settings, { cluster: 'string', kube_upstream: 'string', samples_per_second: 'number' });
    const { cluster, kube_upstream: kubeUpstream, samples_per_second: samplesPerSecond = 1e6 } = settings;
    if (!cluster) throw new Error('cluster is missing');
    if (kubeUpstream && !upstreams.includes(kubeUpstream)) {
      throw new Error(`kube_upstream: ${tenant} has no upstream \`${kubeUpstream}\``);
    }
    Object.assign(this, { cluster, kubeUpstream, samplesPerSecond });
    log.info(`house rules for cluster ${cluster}`);
  }

  relabel(series) {
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

  inputs = ['totals'];

  admit(write) {
    const samples = write.streams.reduce((sum, stream) => sum + stream.samples + stream.histograms, 0);
    if (samples > 5000) return { reject: 'more than 5000 samples in one write' };
    const routed = this.kubeUpstream && write.streams.some((stream) => stream.name === 'kube');
    return {
      charges: [{ bucket: 'samples', tokens: samples, perSecond: this.samplesPerSecond, burst: this.samplesPerSecond * 5 }],
      routes: routed ? { kube: this.kubeUpstream } : {},
    };
  }
}

export const { configure, relabel, relabelPacked, admit, admissionInputs } = exportPolicy(MyPolicy);
