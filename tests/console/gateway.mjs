// A real gateway with a receiver behind it and senders before it, each as small as it may be.
//
// Takes tenants, gives the admin address, ways to write as a sender does, and what the receiver got. Knows remote write from
// its specification, and not from the code under test.

import { createHash } from "node:crypto";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE = 60_000;

export class Gateway {
  /** `{tenant, series}` of each series that the receiver got, as text. */
  got = [];
  log = "";
  #folder = mkdtempSync(join(tmpdir(), "console-gateway-"));
  #receiver;
  #process;

  /** `tenants`: files, each with a token that is its name unless it has credentials; `main`: keys of the main file. */
  static async start(program, tenants, { admin = {}, cache, ...main } = {}) {
    const gateway = new Gateway();
    const receiver = await gateway.#receive();
    mkdirSync(join(gateway.#folder, "tenants"));
    for (const tenant of tenants) gateway.tenant(tenant);
    gateway.#write("gauntlet.yaml", {
      remote_write: { listen_address: "127.0.0.1:0", insecure_http: true },
      admin: { listen_address: "127.0.0.1:0", ...admin },
      upstreams: { soft: { endpoints: [receiver] }, dead: { endpoints: ["http://127.0.0.1:1"] } },
      sandbox: { call_timeout: "5s", ...(cache ? { cache_dir: cache } : {}) },
      tenant_files: ["tenants/*.yaml"],
      ...main,
    });
    await gateway.#run(program);
    return gateway;
  }

  /** Writes its file, or writes it anew. */
  tenant({ tenant, ...rest }) {
    this.#write(`tenants/${tenant}.yaml`, { tenant, credentials: [{ bearer_token_sha256: sha256(tenant) }], ...rest });
  }

  /** The file as it is given, right or wrong. */
  file(name, text) {
    writeFileSync(join(this.#folder, name), text);
  }

  #write(name, value) {
    this.file(name, JSON.stringify(value, null, 1));
  }

  async #receive() {
    this.#receiver = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        const tenant = request.headers["thanos-tenant"];
        if (request.method === "POST")
          for (const series of decoded(Buffer.concat(chunks))) this.got.push({ tenant, series });
        response.writeHead(200).end();
      });
    });
    await new Promise((resolve) => this.#receiver.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${this.#receiver.address().port}`;
  }

  async #run(program) {
    this.#process = spawn(
      program,
      ["serve", `--config.file=${join(this.#folder, "gauntlet.yaml")}`, "--log.format=json"],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#process.on("error", (error) => (this.log += `${error}\n`));
    // Whatever ends this program ends it too.
    process.on("exit", () => this.#process.kill("SIGKILL"));
    for (const stream of [this.#process.stdout, this.#process.stderr])
      stream.setEncoding("utf8").on("data", (text) => (this.log += text));
    const address = (listener) =>
      new RegExp(
        `"address":"([^"]+)"[^\\n]*"listener":"${listener}"|"listener":"${listener}"[^\\n]*"address":"([^"]+)"`,
      ).exec(this.log);
    await eventually(
      "the gateway listens",
      () => {
        if (this.#process.exitCode !== null) throw new Error(`the gateway ended:\n${this.log}`);
        return address("admin") && address("remote_write");
      },
      () => this.log,
    );
    const of = (listener) => address(listener)[1] ?? address(listener)[2];
    this.admin = `http://${of("admin")}/`;
    this.remoteWrite = `http://${of("remote_write")}/api/v1/receive`;
  }

  /** One write of series as objects of labels, a sample each; gives `{status, text}`. */
  async send(tenant, ...series) {
    const response = await fetch(this.remoteWrite, {
      method: "POST",
      body: written(series),
      headers: {
        authorization: `Bearer ${tenant}`,
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "x-prometheus-remote-write-version": "0.1.0",
      },
    });
    return { status: response.status, text: await response.text() };
  }

  async api(path, options) {
    const answer = await (await fetch(new URL(path, this.admin), options)).json();
    if (answer.status !== "success") throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer.data;
  }

  /** What /metrics says: a function from a name and labels to the sum of all series that have these. */
  async metrics() {
    const lines = (await (await fetch(new URL("metrics", this.admin))).text())
      .split("\n")
      .filter((line) => line && !line.startsWith("#"));
    const all = lines.map((line) => {
      const [, name, labels, value] = /^([^{ ]+)(?:\{(.*)\})? ([^ ]+)/.exec(line);
      return {
        name,
        value: Number(value),
        labels: Object.fromEntries(
          [...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]),
        ),
      };
    });
    return (name, labels = {}) =>
      all
        .filter((one) => one.name === name && Object.entries(labels).every(([key, text]) => one.labels[key] === text))
        .reduce((sum, one) => sum + one.value, 0);
  }

  async stop() {
    if (this.#process.exitCode === null) {
      const gone = new Promise((resolve) => this.#process.once("exit", resolve));
      this.#process.kill("SIGKILL");
      await gone;
    }
    this.#receiver.closeAllConnections();
    this.#receiver.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export const sha256 = (text) => createHash("sha256").update(text).digest("hex");

export async function eventually(what, happens, more = () => "") {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await happens();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not in time: ${what}\n${more()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Labels as Prometheus writes them. */
export function textOf(labels) {
  const { __name__: name, ...rest } = labels;
  // What is not seen, or turns round what is, is written as the gateway writes it.
  const unseen = (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const quote = (text) =>
    `"${text
      .replaceAll("\\", "\\\\")
      .replaceAll('"', '\\"')
      .replace(/[\u200b-\u200f\u2028-\u202e\u2060-\u2069]/g, unseen)}"`;
  const pairs = Object.entries(rest)
    .map(([key, text]) => `${/^[A-Za-z_]\w*$/.test(key) ? key : quote(key)}=${quote(text)}`)
    .join(",");
  return /^[A-Za-z_:][\w:]*$/.test(name)
    ? `${name}${pairs && `{${pairs}}`}`
    : `{${[quote(name), pairs].filter(Boolean).join(",")}}`;
}

function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

const field = (number, bytes) => Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);

/** The body of a write. */
export const written = (series, time = Date.now()) => snappy(message(series, time));

function message(series, time) {
  return Buffer.concat(
    series.map((labels) => {
      const sorted = Object.entries(labels).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const value = Buffer.alloc(8);
      value.writeDoubleLE(1);
      const sample = Buffer.concat([Buffer.from([0x09]), value, Buffer.from([0x10]), varint(time)]);
      return field(
        1,
        Buffer.concat([
          ...sorted.map(([name, text]) =>
            field(1, Buffer.concat([field(1, Buffer.from(name)), field(2, Buffer.from(text))])),
          ),
          field(2, sample),
        ]),
      );
    }),
  );
}

/** Literals alone: the format asks for no more. */
function snappy(bytes) {
  const parts = [varint(bytes.length)];
  for (let at = 0; at < bytes.length; at += 65536) {
    const piece = bytes.subarray(at, at + 65536);
    parts.push(Buffer.from([61 << 2, (piece.length - 1) & 255, (piece.length - 1) >> 8]), piece);
  }
  return Buffer.concat(parts);
}

function unsnappy(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const out = Buffer.alloc(number());
  let end = 0;
  while (at < bytes.length) {
    const tag = bytes[at++];
    const kind = tag & 3;
    if (kind === 0) {
      let length = tag >> 2;
      if (length >= 60) {
        const extra = length - 59;
        length = bytes.readUIntLE(at, extra);
        at += extra;
      }
      end += bytes.copy(out, end, at, at + length + 1);
      at += length + 1;
      continue;
    }
    const length = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = kind === 1 ? ((tag >> 5) << 8) | bytes[at++] : bytes.readUIntLE(at, kind === 2 ? 2 : 4);
    if (kind > 1) at += kind === 2 ? 2 : 4;
    for (let copied = 0; copied < length; copied += 1, end += 1) out[end] = out[end - offset];
  }
  return out;
}

function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(number());
    if ((tag & 7) === 0) yield [tag >> 3, number()];
    else {
      const length = { 1: 8, 5: 4 }[tag & 7] ?? Number(number());
      yield [tag >> 3, bytes.subarray(at, at + length)];
      at += length;
    }
  }
}

/** The series of a body of remote write 1.0, as text. */
export function decoded(body) {
  const all = [];
  for (const [number, series] of fields(unsnappy(body))) {
    if (number !== 1) continue;
    const labels = {};
    for (const [part, label] of fields(series)) {
      if (part !== 1) continue;
      const pair = Object.fromEntries(fields(label));
      labels[pair[1].toString()] = pair[2].toString();
    }
    all.push(textOf(labels));
  }
  return all;
}
