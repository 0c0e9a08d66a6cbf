// Whether an operator finds causes by the console alone: a real gateway with fifty tenants, of which some have a fault, and a
// list of complaints.
//
// Takes the program (`node trial.mjs target/debug/gauntlet [cache] [seed] [minutes]`). Tells the console's address, the complaints
// and the file that has the causes, once each fault has shown itself. Ends by itself. Never tells a cause.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FAULTS } from "./faults.mjs";
import { decoded, eventually, Gateway, sha256, written } from "./gateway.mjs";

const [program, cache, seed = "1", minutes = "20"] = process.argv.slice(2);
/** In milliseconds, from one write of a sender to the next. */
const PACE = 2000;
const NAMES =
  "alder almond apple ash aspen bay beech birch box cedar cherry chestnut cypress ebony elder elm fig fir gum hawthorn hazel holly hornbeam iroko ivy juniper larch laurel lime linden locust mahogany maple medlar mulberry myrtle oak olive osier palm pear pine plum poplar quince rowan spruce sycamore walnut willow".split(
    " ",
  );
const CITIES = ["ams", "fra", "lis", "osl"];

/** The same numbers for the same seed (mulberry32). */
function random(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const chance = random(Number(seed));

function shuffled(list) {
  const all = [...list];
  for (let end = all.length - 1; end > 0; end -= 1) {
    const other = Math.floor(chance() * (end + 1));
    [all[end], all[other]] = [all[other], all[end]];
  }
  return all;
}

/** What every sender has. */
const usual = () => [
  { __name__: "up", job: "node" },
  { __name__: "up", job: "api" },
  { __name__: "go_goroutines", job: "api" },
  { __name__: "process_cpu_seconds_total", job: "api" },
  { __name__: "node_load1", job: "node" },
  ...["200", "404", "500"].map((code) => ({ __name__: "http_requests_total", job: "api", code })),
];

/** Keys and certificates of the listener and of senders, in a folder. */
class Authority {
  folder = mkdtempSync(join(tmpdir(), "console-trial-"));

  constructor() {
    this.#signed("server", "127.0.0.1", ["-x509", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"]);
    this.#signed("ca", "senders", ["-x509", "-days", "2"]);
  }

  path = (name) => join(this.folder, name);
  read = (name) => readFileSync(this.path(name));

  #signed(name, subject, how) {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", this.path(`${name}.key`)];
    execFileSync("openssl", ["req", ...key, "-subj", `/CN=${subject}`, "-out", this.path(`${name}.crt`), ...how], {
      stdio: "ignore",
    });
  }

  /** A certificate of a sender by its name, that is or was valid. */
  sender(name, days) {
    this.#signed(name, name, []);
    writeFileSync(this.path("names"), `subjectAltName=DNS:${name}.example.com\n`);
    const by = ["-CA", this.path("ca.crt"), "-CAkey", this.path("ca.key"), "-CAcreateserial"];
    const file = this.path(`${name}.crt`);
    const options = ["-req", "-in", file, ...by, "-days", days, "-extfile", this.path("names"), "-out", `${file}.new`];
    execFileSync("openssl", ["x509", ...options], { stdio: "ignore" });
    return { cert: this.read(`${name}.crt.new`), key: this.read(`${name}.key`) };
  }
}

const authority = new Authority();

/** How a tenant proves itself: what its file has, and what its sender has. */
function login(kind, name) {
  const basic = (password) => `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
  if (kind === "certificate" || kind === "expired")
    return {
      credentials: [{ client_certificate: { dns_san: `${name}.example.com` } }],
      tls: authority.sender(name, kind === "expired" ? "-1" : "2"),
    };
  if (kind === "token")
    return { credentials: [{ bearer_token_sha256: sha256(name) }], authorization: `Bearer ${name}` };
  writeFileSync(authority.path(`${name}.password`), `${name}-password`);
  return {
    credentials: [{ basic_auth: { username: name, password_file: authority.path(`${name}.password`) } }],
    authorization: basic(kind === "password" ? `${name}-password` : "changeme"),
  };
}

const listening = (server) =>
  new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`)),
  );

/** A receiver that stores all, but what a tenant's fault has it refuse. */
const receiver = (answers) =>
  createServer((asked, response) => {
    const chunks = [];
    asked.on("data", (chunk) => chunks.push(chunk));
    asked.on("end", () => {
      const answer = answers.get(asked.headers["thanos-tenant"]);
      const [status, text] = answer ? answer(decoded(Buffer.concat(chunks)).length) : [200, ""];
      response.writeHead(status).end(text);
    });
  });

/** Fifty tenants in the order of their names, some with a fault. */
function cast(upstreams) {
  const faults = shuffled([...FAULTS, ...Array(NAMES.length - FAULTS.length).fill({})]);
  return NAMES.map((tenant, place) => {
    const fault = faults[place];
    const kind = fault.login ?? ["certificate", "token", "token", "password"][Math.floor(chance() * 4)];
    const { credentials, ...proof } = login(kind, tenant);
    const upstream = upstreams[fault.upstream ?? (chance() < 0.5 ? "first" : "second")];
    // Not every rule is a fault.
    const tidy = { plugin: "relabel", settings: { relabel_configs: [{ action: "labeldrop", regex: "replica" }] } };
    const file = { upstreams: [upstream], credentials, ...(chance() < 0.3 ? { policies: [tidy] } : {}), ...fault.file };
    return { tenant, fault, proof, file, address: `127.1.${place + 1}.10`, offset: chance() * PACE };
  });
}

/** Writes again and again, from an address of its own, one write at a time. */
class Sender {
  #agent;
  #round = 0;
  #busy = false;

  constructor(gateway, { fault, proof, address, offset }) {
    Object.assign(this, { fault, proof, url: new URL(gateway.remoteWrite) });
    this.#agent = new Agent({ keepAlive: true, localAddress: address, ca: authority.read("server.crt"), ...proof.tls });
    setTimeout(() => setInterval(() => this.#turn(), PACE), offset);
  }

  async #turn() {
    if (this.#busy) return;
    this.#busy = true;
    const { adds, own, age = 0 } = this.fault;
    const writes = [[...usual(), ...(adds?.(this.#round) ?? [])], ...(own ? [own()] : [])];
    for (const series of writes) await this.#write(written(series, Date.now() - age));
    this.#round += 1;
    this.#busy = false;
  }

  #write(body) {
    const headers = {
      "content-type": "application/x-protobuf",
      "content-encoding": "snappy",
      "x-prometheus-remote-write-version": "0.1.0",
      "content-length": body.length,
      "user-agent": "Prometheus/3.5.0",
      ...(this.proof.authorization ? { authorization: this.proof.authorization } : {}),
    };
    const { hostname, port, pathname: path } = this.url;
    return new Promise((resolve) => {
      const asked = request({ hostname, port, path, method: "POST", headers, agent: this.#agent }, (response) =>
        response.resume().on("close", resolve),
      );
      asked.on("error", resolve).end(body);
    });
  }
}

/** Waits until each fault has shown itself once. */
async function shown(gateway, faulty) {
  let hidden = faulty;
  await eventually(
    "each fault shows itself",
    async () => {
      const [metric, refusals] = [await gateway.metrics(), await gateway.api("api/v1/refusals")];
      hidden = hidden.filter(({ tenant, address, fault }) => !fault.active({ metric, refusals, tenant, address }));
      return hidden.length === 0;
    },
    () => hidden.map(({ tenant, fault }) => `${tenant}: ${fault.cause}\n`).join(""),
  );
}

const answers = new Map();
const first = await listening(receiver(answers));
const second = await listening(receiver(answers));
const hung = await listening(createServer(() => {}));
const [one, two, three, four] = shuffled(CITIES).map((city) => `thanos-${city}`);
const tenants = cast({ first: one, second: two, dead: three, hung: four });
const faulty = tenants.filter(({ fault }) => fault.cause);
for (const { tenant, fault } of faulty) if (fault.answer) answers.set(tenant, fault.answer);

const tls = { cert_file: authority.path("server.crt"), key_file: authority.path("server.key") };
const upstream = (endpoint) => ({ endpoints: [endpoint], timeout: "3s" });
const gateway = await Gateway.start(
  program,
  tenants.map(({ tenant, file }) => ({ tenant, ...file })),
  {
    cache,
    remote_write: {
      listen_address: "127.0.0.1:0",
      tls_server_config: { ...tls, client_ca_file: authority.path("ca.crt") },
    },
    upstreams: {
      [one]: upstream(first),
      [two]: upstream(second),
      [three]: upstream("http://127.0.0.1:1"),
      [four]: upstream(hung),
    },
    plugins: { "scrub-ids": { file: new URL("../../guest-plugins/fixtures/built/hostile.wasm", import.meta.url).pathname } },
  },
);
for (const tenant of tenants) new Sender(gateway, tenant);

const end = async (code) => {
  await gateway.stop();
  rmSync(authority.folder, { recursive: true, force: true });
  process.exit(code);
};
process.on("SIGINT", () => end(130));
process.on("SIGTERM", () => end(143));

const early = faulty.filter(({ fault }) => fault.late);
await eventually("all have written that are to change", async () => {
  const metric = await gateway.metrics();
  return early.every(({ tenant }) => metric("gauntlet_forwarded_samples_total", { tenant }) > 0);
});
for (const { tenant, file, fault } of early) gateway.tenant({ tenant, ...file, ...fault.late });
await fetch(`${gateway.admin}-/reload`, { method: "POST" });
await shown(gateway, faulty);

const key = join(tmpdir(), `console-trial-${seed}.txt`);
writeFileSync(key, faulty.map(({ tenant, fault }) => `${tenant}: ${fault.cause}\n`).join(""));
console.log(`\nThe console: ${gateway.admin}\n`);
for (const [place, { tenant, address, fault }] of shuffled(faulty).entries())
  console.log(`${String(place + 1).padStart(2)}. ${tenant} (writes from ${address}) says: ${fault.complaint}`);
console.log(`\nWhy? By the console alone, in under a minute each. Open ${key} at the end.`);
console.log(`All ends by itself in ${minutes} minutes, or with ^C.`);
setTimeout(() => end(0), Number(minutes) * 60_000);
