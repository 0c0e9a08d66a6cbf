// A made-up gateway with as many tenants as one likes, for what a real one cannot show within seconds: the page's own files,
// and answers in the form of docs/api.md with numbers that move.
//
// Takes how many tenants, gives an address. Never checks anything: that is for the real gateway.
//
// Long because every answer of the API is here.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const FILES = new URL("../../host/src/admin/console/", import.meta.url);
const KINDS = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The end of everybody's certificate. */
const ENDS = Math.round(Date.now() / 1000) + 9 * 86_400;

const WORDS = [
  "atlas",
  "borealis",
  "checkout",
  "delta",
  "edge",
  "fleet",
  "galley",
  "harbor",
  "ingest",
  "juniper",
  "kazusa",
  "lab",
  "mobile",
  "north",
  "orders",
  "payments",
  "quarry",
  "rail",
  "search",
  "telemetry",
];
const REGIONS = [
  "ams",
  "ber",
  "cph",
  "dub",
  "fra",
  "hel",
  "lis",
  "lon",
  "mad",
  "mil",
  "nyc",
  "osl",
  "par",
  "prg",
  "rom",
  "sao",
  "sin",
  "sto",
  "syd",
  "tyo",
  "vie",
  "waw",
  "yvr",
  "zrh",
  "iad",
];

export async function crowd(tenants = 500) {
  const made = new Crowd(tenants);
  const server = createServer((request, response) => made.answer(request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    crowd: made,
    url: `http://127.0.0.1:${server.address().port}/`,
    stop: () => (server.closeAllConnections(), server.close()),
  };
}

/** The same numbers each time. */
function random(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) % 4294967296;
    return seed / 4294967296;
  };
}

const minutesOf = (tenant, key, next) =>
  Array.from({ length: 60 }, (_, minute) =>
    Math.round(tenant[key] * 60 * (0.8 + 0.25 * Math.sin(minute / 9 + tenant.phase) + 0.15 * next())),
  );

class Crowd {
  /** In milliseconds, between two `tenants` events. */
  pace = 5000;
  /** A status in place of every answer. */
  refuse;
  #next = random(7);
  #tenants;
  #beats = 0;

  constructor(number) {
    const next = this.#next;
    this.#tenants = Array.from({ length: number }, (_, place) => {
      const size = Math.exp(next() * 5.2) * 8;
      const name = number > 500 ? `tenant-${place}` : `${WORDS[place % 20]}-${REGIONS[Math.floor(place / 20) % 25]}`;
      const max = [50000, 200000, 1000000][Math.floor(next() * 3)];
      return {
        name,
        received: size,
        dropped: place % 3 ? 0 : size * 0.35,
        rejected: 0,
        waiting: 0,
        max,
        active: Math.round(Math.min(max, size * (12 + next() * 8))),
        p99: 0.002 * 2 ** Math.floor(next() * 5),
        phase: next() * 9,
        last: null,
      };
    });
    // Its sender wrote until some minutes ago.
    Object.assign(this.#tenants[Math.min(7, number - 1)], { received: 0, dropped: 0, came: 400 });
    const troubled = [
      [400, "label_value_too_long", "rejected"],
      [400, "over_active_series", "rejected"],
      [503, "over_rate", "waiting"],
    ];
    for (let place = 4; place < number; place += Math.ceil(number / 11)) {
      const tenant = this.#tenants[place];
      const [status, reason, key] = troubled[place % troubled.length];
      tenant[key] = tenant.received * 0.07;
      tenant.last = { status, reason, ago: next() * 40 };
      if (reason === "over_active_series") tenant.active = tenant.max;
    }
  }

  /** Adds a tenant whose every word is a stranger's. */
  hostile(name, reason, text) {
    this.#tenants.push({
      name,
      received: 1e6,
      dropped: 1,
      rejected: 2,
      waiting: 0,
      max: 100,
      active: 99,
      p99: 0.001,
      phase: 0,
      last: { status: 400, reason, ago: 1, text },
    });
  }

  answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    if (pathname === "/" || pathname.startsWith("/console/"))
      return this.#file(pathname === "/" ? "index.html" : pathname.slice(9), response);
    if (pathname === "/api/v1/events") return this.#events(request, response);
    if (this.refuse)
      return response
        .writeHead(this.refuse, { "content-type": "text/plain" })
        .end("the admin API asks for a password\n");
    const data = this.#data(pathname, searchParams);
    response.writeHead(data ? 200 : 404, { "content-type": "application/json" });
    response.end(
      JSON.stringify(
        data ? { status: "success", data } : { status: "error", errorType: "not_found", error: "nothing is here" },
      ),
    );
  }

  #file(name, response) {
    try {
      const text = readFileSync(new URL(name, FILES));
      response.writeHead(200, {
        "content-type": KINDS[name.split(".").pop()],
        "content-security-policy": POLICY,
        "cache-control": "no-cache",
      });
      response.end(text);
    } catch {
      response.writeHead(404).end();
    }
  }

  #events(request, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const tell = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    tell("flow", this.#flow());
    tell("tenants", this.#rows());
    const timers = [
      setInterval(() => tell("flow", this.#flow()), 1000),
      setInterval(() => tell("tenants", this.#rows()), this.pace),
    ];
    request.on("close", () => timers.forEach(clearInterval));
  }

  #data(path, params) {
    const one = /^\/api\/v1\/tenants\/([^/]+)(\/\w+)?$/.exec(path);
    const tenant = this.#tenants.find(
      ({ name }) => name === decodeURIComponent(one?.[1] ?? params.get("tenant") ?? ""),
    );
    switch (one ? `/one${one[2] ?? ""}` : path) {
      case "/api/v1/status":
        return STATUS;
      case "/api/v1/tenants":
        return this.#tenants.map((tenant) => this.#row(tenant));
      case "/api/v1/policies":
        return this.#tenants.flatMap((tenant) => policies(tenant)).map((row) => withAlone(row, params.get("fields")));
      case "/api/v1/upstreams":
        return UPSTREAMS;
      case "/api/v1/flow":
        return this.#history(params.get("tenant"));
      case "/api/v1/refusals":
        return this.#refusals();
      case "/api/v1/reloads":
        return RELOADS;
      case "/api/v1/config":
        return { file: "/etc/gauntlet/gauntlet.yaml", config: { tenants: this.#tenants.map(({ name }) => name) } };
      case "/one":
        return tenant && this.#detail(tenant);
      case "/one/drops":
        return tenant && drops(tenant);
      case "/one/cardinality":
        return tenant && cardinality(tenant);
      default:
        return null;
    }
  }

  #move({ phase }) {
    return 1 + 0.06 * Math.sin(this.#beats / 3 + phase * 7);
  }

  #flow() {
    this.#beats += 1;
    const sum = (key) => this.#tenants.reduce((all, tenant) => all + tenant[key] * this.#move(tenant), 0);
    const [received, dropped, rejected, waiting] = ["received", "dropped", "rejected", "waiting"].map(sum);
    const stored = received - dropped - rejected - waiting;
    return {
      now: Date.now() / 1000,
      received,
      kept: stored * 0.72,
      edited: stored * 0.28,
      dropped,
      rejected,
      waiting,
      upstreams: { "soft-tenants": stored * 0.8, "soft-replicated": stored * 0.17, archive: stored * 0.03 },
    };
  }

  #rows() {
    const columns = [
      "tenant",
      "received",
      "dropped",
      "rejected",
      "waiting",
      "forwarded",
      "active_series",
      "max_active_series",
      "p99_seconds",
      "last_status",
      "last_reason",
      "last_seconds_ago",
      "last_received_seconds_ago",
      "last_taken_seconds_ago",
    ];
    const rows = this.#tenants.map((tenant) => {
      const move = this.#move(tenant);
      const { name, received, dropped, rejected, waiting, active, max, p99, last, came = 2 } = tenant;
      return [
        name,
        received * move,
        dropped * move,
        rejected * move,
        waiting * move,
        (received - dropped - rejected - waiting) * move,
        active,
        max,
        p99,
        last?.status ?? null,
        last?.reason ?? null,
        last?.ago ?? null,
        came,
        came,
      ];
    });
    return { seconds: 5, columns, rows };
  }

  #row({ name, received, dropped, rejected, waiting, active, max, p99, last, came = 2 }) {
    return {
      tenant: name,
      enabled: true,
      file: `/etc/gauntlet/tenants/${name}.yaml`,
      generation: 3,
      went_back: null,
      policies: ["relabel", "limits"],
      upstreams: ["soft-tenants"],
      active_series: active,
      max_active_series: max,
      budgets: 2,
      fullest_budgets: [
        { budget: "http_requests_total", active_series: 48210, max_active_series: 50000 },
        { budget: "up", active_series: 12, max_active_series: 5000 },
      ],
      last_failures: [],
      policy_usage: {
        calls: 10,
        cpu_seconds: 0.1,
        failures: 0,
        log_lines: 0,
        log_bytes: 0,
        memory_peak_bytes: 1179648,
      },
      credentials: [
        { kind: "client_certificate", uri_san: `spiffe://${name}/prometheus`, last_used_seconds_ago: 2, expires_timestamp_seconds: ENDS },
        { kind: "bearer_token", last_used_seconds_ago: null, expires_timestamp_seconds: null },
      ],
      p99_seconds: p99,
      received_per_second: received,
      dropped_per_second: dropped,
      rejected_per_second: rejected,
      waiting_per_second: waiting,
      last_received_seconds_ago: came,
      last_taken_seconds_ago: came,
      last_refusal: last && { seconds_ago: last.ago, status: last.status, reason: last.reason, text: textOf(last) },
    };
  }

  #history(tenant) {
    const next = random(3);
    const tenants = Object.fromEntries(
      this.#tenants
        .filter(({ name }) => !tenant || name === tenant)
        .map((one) => [
          one.name,
          Object.fromEntries(
            ["received", "dropped", "rejected", "waiting"].map((key) => [key, minutesOf(one, key, next)]),
          ),
        ]),
    );
    const sum = (of) =>
      Array.from({ length: 360 }, (_, place) => Math.round(of * 10 * (1 + 0.1 * Math.sin(place / 40))));
    const { now, upstreams, ...fates } = this.#flow();
    const gateway = tenant
      ? null
      : {
          ...Object.fromEntries(Object.entries(fates).map(([key, of]) => [key, sum(of)])),
          upstreams: Object.fromEntries(Object.entries(upstreams).map(([key, of]) => [key, sum(of)])),
        };
    return { now, interval_seconds: 10, seconds: 3600, gateway, tenant_interval_seconds: 60, tenants };
  }

  #refusals() {
    const known = this.#tenants
      .filter(({ last }) => last)
      .slice(0, 7)
      .map(({ name, last }) => ({
        tenant: name,
        claimed_tenant: null,
        address: "10.4.0.17:41234",
        identity: `client_certificate uri_san=spiffe://${name}/prometheus`,
        reason: last.reason,
        seconds_ago: last.ago,
        series: last.status === 400 ? 'http_requests_total{path="_"}' : null,
        status: last.status,
        text: textOf(last),
      }));
    return [
      {
        tenant: null,
        claimed_tenant: null,
        address: "203.0.113.9:40000",
        identity: "basic_auth username=orders",
        reason: "wrong_credential",
        seconds_ago: 0.4,
        series: null,
        status: 401,
        text: "the credential is not known",
      },
      ...known,
    ].sort((a, b) => a.seconds_ago - b.seconds_ago);
  }

  #detail(tenant) {
    const { received, dropped, rejected, waiting, active, max, last } = tenant;
    const total = (rate) => Math.round(rate * 40000);
    const stored = total(received - dropped - rejected - waiting);
    return {
      ...this.#row(tenant),
      use: [
        { limit: "max_active_series", use: active, max, unit: "series" },
        { limit: "max_concurrent_requests", use: 3, max: 256, unit: "requests" },
        { limit: "max_in_flight_size", use: 2097152, max: 134217728, unit: "bytes" },
        { limit: "limits: samples", use: 179000, max: 200000, per_second: 50000, unit: "tokens" },
      ],
      limits: { max_body_size: 33554432 },
      removed_credentials: [],
      answers: { 204: 81234, ...(last ? { [last.status]: 812 } : {}) },
      counted: {
        received: total(received),
        kept: Math.round(stored * 0.72),
        edited: stored - Math.round(stored * 0.72),
        forwarded: { "soft-tenants": stored },
        dropped: dropped
          ? [
              { policy: "relabel", reason: "go metrics", samples: total(dropped * 0.8) },
              { policy: "relabel", reason: "relabel_configs[3]", samples: total(dropped * 0.2) },
            ]
          : [],
        rejected: last
          ? [
              {
                reason: last.reason,
                samples: total(rejected + waiting),
                kept_by_sender: last.status === 503,
                waiting: 0,
              },
            ]
          : [],
        discarded: [{ kind: "exemplars", reason: "not_written", count: 12 }],
      },
      chain: policies(tenant),
      remote_write: `remote_write:\n  - url: https://gauntlet.example.com/api/v1/receive\n    tls_config: {cert_file: client.crt, key_file: client.key}\n`,
      refusals: last
        ? [1, 6, 14].map((seconds) => ({
            seconds_ago: last.ago + seconds,
            status: last.status,
            reason: last.reason,
            text: textOf(last),
            address: "10.4.0.17:41234",
            identity: "client_certificate",
            series: last.status === 400 ? 'http_requests_total{path="_"}' : null,
          }))
        : [],
    };
  }
}

const textOf = (last) =>
  last.text ??
  { over_rate: "the tenant is over the rate of samples", upstream_timeout: "no receiver answered in time" }[
    last.reason
  ] ??
  '3 of 500 series were refused, the others were stored: 3: a label value is longer than max_label_value_length, as in http_requests_total{path="_"}';

const policies = ({ name }) =>
  ["relabel", "limits"].map((plugin, place) => ({
    tenant: name,
    policy: plugin,
    plugin,
    owner: place ? "operator" : "tenant",
    mode: "enforce",
    sha256: "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
    world: "gauntlet:policy@1.0.0",
    size_bytes: 204800,
    generation: 3,
    judges_series: !place,
    judges_writes: !!place,
    calls: 12345,
    failures: 0,
    last_failure: null,
    quarantined_seconds: null,
    refused_series: [],
    series_per_call: 512,
    cpu_seconds: 2.1,
    nanoseconds_per_call: 170000,
    memory_peak_bytes: 1179648,
    log_lines: 1,
    log_bytes: 20,
    impure: null,
    shadow: null,
    log: [{ seconds_ago: 30, level: "warn", text: "no rule for up" }],
  }));

const withAlone = (row, fields) =>
  fields ? Object.fromEntries(Object.entries(row).filter(([field]) => fields.split(",").includes(field))) : row;

const drops = ({ dropped }) => ({
  tenant: "",
  examples_kept: "names",
  drops: dropped
    ? [
        {
          policy: "relabel",
          reason: "go metrics",
          samples: 1,
          examples: [
            { series: 'go_goroutines{instance="_",job="_"}', seconds_ago: 2 },
            { series: 'go_gc_duration_seconds{instance="_",job="_",quantile="_"}', seconds_ago: 9 },
          ],
        },
      ]
    : [],
  rejections: [],
});

const cardinality = () => ({
  tenant: "",
  windows: [300, 1800, 3600].map((seconds) => ({
    seconds,
    new_series: seconds * 3,
    error: seconds / 30,
    metrics: [
      ["http_requests_total", 0.62],
      ["grpc_server_handled_total", 0.2],
      ["kube_pod_status_phase", 0.1],
      ["up", 0.02],
    ].map(([name, share]) => ({ name, new_series: Math.round(seconds * 3 * share) })),
    labels: [
      ["instance", 1],
      ["pod", 0.93],
      ["path", 0.58],
      ["code", 0.3],
    ].map(([name, share]) => ({ name, new_series: Math.round(seconds * 3 * share), values: Math.round(share * 240) })),
  })),
});

const STATUS = {
  ready: true,
  tenants: 500,
  version: "0.1.0",
  went_back: [],
  broken_tenants: [
    {
      tenant: "orders-fra",
      file: "/etc/gauntlet/tenants/orders-fra.yaml",
      error: "/etc/gauntlet/tenants/orders-fra.yaml:7:3: unknown key `disabeld` (did you mean `disabled`?)",
      serving_generation: 2,
      restored: false,
      credentials_unknown: false,
    },
  ],
  last_reload: {
    cause: "files changed",
    successful: false,
    timestamp_seconds: Date.now() / 1000 - 340,
    errors: [],
    plugin_errors: [],
    warnings: [],
  },
};
const RELOADS = [
  {
    ...STATUS.last_reload,
    seconds: 0.12,
    broken_tenants: STATUS.broken_tenants,
    changed_tenants: ["delta-cph"],
    generation: 7,
  },
  {
    cause: "start",
    successful: true,
    timestamp_seconds: Date.now() / 1000 - 90000,
    seconds: 1.8,
    errors: [],
    plugin_errors: [],
    warnings: [],
    broken_tenants: [],
    changed_tenants: [],
    generation: 1,
  },
];
const endpoint = (address, more) => ({
  address,
  healthy: true,
  in_flight: 3,
  failures_in_a_row: 0,
  last_failure: null,
  last_cause: null,
  retry_in_seconds: null,
  latency_seconds: 0.0042,
  ...more,
});
const UPSTREAMS = [
  {
    upstream: "archive",
    in_flight: 1,
    lookup_error: null,
    samples: 1203345,
    answers: { success: 120334 },
    p50_seconds: 0.004,
    p99_seconds: 0.032,
    endpoints: [endpoint("http://10.0.3.4:19291")],
  },
  {
    upstream: "soft-replicated",
    in_flight: 4,
    lookup_error: null,
    samples: 81203345,
    answers: { success: 812033, connect: 7, timeout: 2 },
    p50_seconds: 0.004,
    p99_seconds: 0.128,
    endpoints: [
      endpoint("http://10.0.2.4:19291"),
      endpoint("http://10.0.2.5:19291", {
        healthy: false,
        failures_in_a_row: 7,
        last_failure: "connect",
        retry_in_seconds: 3.1,
        in_flight: 0,
        latency_seconds: null,
        last_cause: {
          seconds_ago: 4,
          text: "nothing listens there (connection refused)",
          url: "http://10.0.2.5:19291/api/v1/receive",
          look_at: "upstreams.soft-replicated.endpoints",
        },
      }),
    ],
  },
  {
    upstream: "soft-tenants",
    in_flight: 21,
    lookup_error: null,
    samples: 441203345,
    answers: { success: 4412033, unavailable: 31, conflict: 12 },
    p50_seconds: 0.003,
    p99_seconds: 0.016,
    endpoints: [
      endpoint("http://10.0.1.4:19291"),
      endpoint("http://10.0.1.5:19291"),
      endpoint("http://10.0.1.6:19291"),
    ],
  },
];
