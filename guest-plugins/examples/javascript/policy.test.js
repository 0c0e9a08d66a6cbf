// A policy is an ordinary class, so `npm test` tests it as one; `gauntlet plugin test` asks the component itself.

import assert from 'node:assert';
import { test } from 'node:test';

import { Series } from 'gauntlet-policy';
import { MyPolicy } from './policy.js';

test('the cluster takes the place of the replica', () => {
  const policy = new MyPolicy({ cluster: 'setsuna' }, { tenant: 'kazusa', upstreams: ['main'] });
  const series = Series.of([{ name: '__name__', value: 'http_requests_total' }, { name: 'replica', value: '0' }]);
  policy.relabel(series);
  assert.equal(`${series}`, '{__name__="http_requests_total", cluster="setsuna"}');
});
