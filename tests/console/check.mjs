// Whether the console tells the truth, to everybody, and never more than it should.
//
// Takes the program (`node check.mjs target/debug/gauntlet`), starts it with a receiver behind and senders before it, and
// looks at every page in a real Chromium. Ends with 1 if anything is not as it should be.
//
// Long because it is one list of checks, in the order of the writes that they are about.

import { rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { crowd } from "./crowd.mjs";
import { eventually, Gateway, sha256, textOf, written } from "./gateway.mjs";
import { FAINT, FOCUS, LONGEST, MARK, OUTSIDE, WATCH, WIDE } from "./page.mjs";

const [program, cache] = process.argv.slice(2);
/** In milliseconds, of a frame. */
const MAX_FRAME = 100;

const TENANTS = [
  {
    tenant: "kazusa",
    limits: { max_label_value_length: 5000 },
    upstreams: ["soft"],
    drop_examples: "values",
    policies: [
      {
        plugin: "relabel",
        settings: {
          relabel_configs: [
            { action: "drop", source_labels: ["__name__"], regex: "go_.*" },
            { action: "labeldrop", regex: "replica" },
            { action: "replace", source_labels: ["job"], regex: "api", target_label: "team", replacement: "web" },
          ],
        },
      },
      { plugin: "limits", settings: { samples: { per_second: 100000, burst: 100000 } } },
    ],
  },
  { tenant: "setsuna", limits: { max_label_value_length: 16 }, upstreams: ["soft"], policies: [] },
  {
    tenant: "limited",
    upstreams: ["soft"],
    policies: [{ plugin: "limits", settings: { samples: { per_second: 1, burst: 1 } } }],
  },
  { tenant: "waiting", upstreams: ["dead"], policies: [] },
];

const HOSTILE = {
  script: "<script>window.hacked = 1</script>",
  image: '<img src=x onerror="window.hacked = 1">',
  markup: "</code></p><h1>hacked</h1>&lt;b&gt;",
  rtl: "\u202Egnirts a \u2066si siht\u200F שלום مرحبا",
  long: "x<y>".repeat(1024),
  link: "javascript:window.hacked=1",
};

/** What playground and pipeline must agree on. */
const SERIES = [
  ["kazusa", { __name__: "up", job: "node" }],
  ["kazusa", { __name__: "up", job: "api", replica: "a" }],
  ["kazusa", { __name__: "go_goroutines", job: "api" }],
  ["kazusa", { __name__: "größe.in.bytes", job: "node" }],
  ["setsuna", { __name__: "up", job: "short" }],
  ["setsuna", { __name__: "up", job: "much longer than sixteen bytes" }],
  ["kazusa", { __name__: "go_info", text: HOSTILE.script }],
  ...Object.values(HOSTILE).map((text) => ["kazusa", { __name__: "hostile", text }]),
];

const PAGES = {
  "#/": "Overview",
  "#/tenants/kazusa": "kazusa",
  "#/tenants/setsuna": "setsuna",
  "#/policies": "Policies",
  "#/policies/kazusa/relabel": "relabel of kazusa",
  "#/upstreams": "Upstreams",
  [`#/playground?tenant=kazusa&series=${encodeURIComponent(textOf(SERIES[1][1]))}`]: "Playground",
};

let failed = 0;

async function check(name, test) {
  const begin = Date.now();
  try {
    const told = await test();
    console.log(`ok    ${name}${told ? `: ${told}` : ""} (${((Date.now() - begin) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n      ${String(error.stack ?? error).replaceAll("\n", "\n      ")}`);
  }
}

function same(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: the page has ${a}, and ${b} is true`);
}

const none = (list, what) => {
  if (list.length) throw new Error(`${what}:\n${list.join("\n")}`);
};

/** Digits of a text as a number. */
const number = (text) => Number(text.replaceAll(",", "").match(/-?\d+(\.\d+)?/)?.[0]);

const browser = await Browser.start();
const gateway = await Gateway.start(program, TENANTS, { cache });
const at = (hash) => `${gateway.admin}${hash}`;

/** A page at an address that has all it shows at first. */
async function settled(hash, options, base = gateway.admin) {
  const page = await browser.page(options);
  await page.open(`${base}${hash}`);
  await page.value("new Promise((done) => setTimeout(done, 600))");
  return page;
}

await check("the page comes with its headers, to those who may ask, once", async () => {
  const ask = (headers, path = "/") =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(gateway.admin);
      request({ hostname, port, path, headers }, (response) => resolve(response.resume()))
        .on("error", reject)
        .end();
    });
  const answer = await ask({});
  const { "content-security-policy": policy, etag } = answer.headers;
  if (
    answer.statusCode !== 200 ||
    !policy.startsWith("default-src 'none'; script-src 'self';") ||
    /unsafe|\*/.test(policy)
  )
    throw new Error(`${answer.statusCode} ${policy}`);
  same(
    [answer.headers["x-content-type-options"], answer.headers["referrer-policy"]],
    ["nosniff", "no-referrer"],
    "headers",
  );
  same((await ask({ "if-none-match": etag })).statusCode, 304, "with the tag it was given");
  same((await ask({ host: "evil.example" })).statusCode, 403, "under a name that is not the listener's");
  same(
    (await ask({ origin: "http://evil.example" }, "/console/app.js")).statusCode,
    403,
    "asked by another site's page",
  );
});

await check("with a password the page stands behind it as the API does", async () => {
  const guarded = await Gateway.start(program, [TENANTS[1]], {
    cache,
    admin: { basic_auth: { username: "operator", password_sha256: sha256("secret") } },
  });
  const login = { authorization: `Basic ${Buffer.from("operator:secret").toString("base64")}` };
  for (const path of ["", "console/app.js", "api/v1/status"]) {
    const without = await fetch(guarded.admin + path);
    same(
      [without.status, without.headers.get("www-authenticate")?.startsWith("Basic ")],
      [401, true],
      `/${path} without it`,
    );
    same((await fetch(guarded.admin + path, { headers: login })).status, 200, `/${path} with it`);
  }
  const page = await browser.page();
  await page.send("Network.setExtraHTTPHeaders", { headers: login });
  await page.open(guarded.admin);
  await page.until("document.querySelectorAll('.tenants .grid-body .grid-row').length === 1", "the tenant");
  await page.close();
  await guarded.stop();
});

// What the numbers below are about.
const sent = [];
for (const [tenant, labels] of SERIES) sent.push(await gateway.send(tenant, labels));
await gateway.send(
  "kazusa",
  ...Array.from({ length: 200 }, (_, place) => ({ __name__: "http_requests_total", job: "api", path: `/${place}` })),
);
for (let round = 0; round < 3; round += 1) await gateway.send("limited", { __name__: "up", round: String(round) });
await gateway.send("waiting", { __name__: "up" });
await gateway.send("nobody", { __name__: "up" });

await check("every page shows itself without a complaint, and asks nobody else", async () => {
  for (const [hash, title] of Object.entries(PAGES)) {
    const page = await settled(hash);
    await page.until("document.querySelector('main').innerText.length > 120", "more than its heading");
    same(
      await page.value(
        "[document.title, document.querySelector('h1').textContent, document.querySelectorAll('main, header, nav').length]",
      ),
      [`${title} · Gauntlet`, title, 3],
      hash,
    );
    none(page.complaints, `complaints of ${hash}`);
    none(
      page.asked.filter((url) => !url.startsWith(gateway.admin)),
      `elsewhere asked by ${hash}`,
    );
    await page.close();
  }
  return `${Object.keys(PAGES).length} pages`;
});

await check("a tenant's samples are those of /metrics", async () => {
  for (const { tenant } of TENANTS) {
    const page = await settled(`#/tenants/${tenant}`);
    const shown = await page.until(
      "document.querySelector('[data-counted]') && Object.fromEntries([...document.querySelectorAll('[data-counted]')].map((one) => [one.dataset.counted, one.querySelector('strong').textContent]))",
      "what was counted",
    );
    const metric = await gateway.metrics();
    const sum = (name) => metric(`gauntlet_${name}_samples_total`, { tenant });
    const truth = {
      received: sum("received"),
      kept: sum("forwarded") - sum("edited"),
      edited: sum("edited"),
      dropped: sum("dropped"),
      rejected: sum("rejected") - sum("waiting"),
      waiting: sum("waiting"),
    };
    same(Object.fromEntries(Object.entries(shown).map(([key, text]) => [key, number(text)])), truth, tenant);
    if (!truth.received) throw new Error(`${tenant} received nothing: nothing is compared`);
    await page.close();
  }
});

await check("the picture of the last hour is that of /metrics, and so are active series", async () => {
  const metric = await gateway.metrics();
  const total = (name) => metric(`gauntlet_${name}_samples_total`);
  await eventually("the last interval is over", async () => {
    const { gateway: flow } = await gateway.api("api/v1/flow");
    return flow.received.reduce((sum, one) => sum + one, 0) === total("received");
  });
  const page = await settled("#/");
  await page.value(
    "[...document.querySelectorAll('.choices button')].find((one) => one.textContent === 'Last hour').click()",
  );
  const shown = await page.until(
    "document.querySelector('.flow-box li[data-key=received]') && Object.fromEntries([...document.querySelectorAll('.flow-box li')].map((one) => [one.dataset.key, one.textContent]))",
    "the picture",
  );
  const waiting = metric("gauntlet_waiting_samples_total");
  const truth = {
    received: total("received"),
    kept: total("forwarded") - total("edited"),
    edited: total("edited"),
    dropped: total("dropped"),
    rejected: total("rejected") - waiting,
    waiting,
    "to soft": metric("gauntlet_forwarded_samples_total", { upstream: "soft" }),
  };
  const numbers = Object.fromEntries(Object.keys(truth).map((key) => [key, number(shown[key].split(": ")[1])]));
  same(numbers, truth, "the picture");
  const rows = await page.until(
    "document.querySelectorAll('.tenants .grid-body .grid-row').length === 4 && [...document.querySelectorAll('.tenants .grid-body .grid-row')].map((row) => [row.children[0].textContent, row.querySelector('.use-number').textContent])",
    "four tenants",
  );
  same(
    rows.map(([tenant, text]) => [tenant, number(text)]),
    rows.map(([tenant]) => [tenant, metric("gauntlet_active_series", { tenant })]),
    "active series",
  );
  await page.close();
  return JSON.stringify(truth);
});

await check("what flows now is the sum of the table, of the same minute", async () => {
  const page = await settled("#/");
  await gateway.send("setsuna", ...Array.from({ length: 100 }, (_, place) => ({ __name__: "sum", place: String(place) })));
  const read =
    "((rows) => [document.querySelector('.flow-box li[data-key=received]').textContent, rows.map((row) => row.children[2].textContent)])([...document.querySelectorAll('.tenants .grid-body .grid-row')])";
  const [flow, rows] = await eventually("a picture that has it", async () => {
    const seen = await page.value(read);
    return number(seen[0].split(": ")[1]) >= 1 && seen;
  });
  const [all, sum] = [number(flow.split(": ")[1]), rows.reduce((sum, text) => sum + number(text), 0)];
  // Each is rounded to a tenth.
  if (Math.abs(all - sum) > 0.3) throw new Error(`the picture has ${all}, and the rows ${rows}`);
  await page.until("document.querySelector('.flow-box + .note').textContent.includes('over the last minute')", "of which time");
  await page.close();
  return `${all} and ${rows.join(" + ")}`;
});

await check("nothing of what flows is drawn outside of the picture", async () => {
  let all = 0;
  for (const hash of ["#/", "#/tenants/kazusa", "#/tenants/limited", "#/tenants/waiting"])
    for (const width of [375, 1200]) {
      const page = await settled(hash, { width });
      await page.until("document.querySelector('svg.flow text')", "the picture");
      const seen = await page.value(OUTSIDE);
      none(seen.outside, `${hash}, ${width} wide`);
      all += seen.all;
      await page.close();
    }
  return `${all} parts`;
});

const password = join(tmpdir(), `console-password-${process.pid}`);
writeFileSync(password, "right");
const faulty = await Gateway.start(
  program,
  [
    { tenant: "fine", upstreams: ["soft"], policies: [] },
    { tenant: "small", upstreams: ["soft"], limits: { max_body_size: "64B" } },
    {
      tenant: "slow",
      upstreams: ["soft"],
      policies: [{ plugin: "limits", settings: { samples: { per_second: 0.5, burst: 1 } } }],
    },
    {
      tenant: "ruled",
      upstreams: ["soft"],
      policies: [
        {
          plugin: "relabel",
          settings: { relabel_configs: [{ action: "drop", source_labels: ["__name__"], regex: "go_.*" }] },
        },
      ],
    },
    {
      tenant: "named",
      upstreams: ["soft"],
      credentials: [{ basic_auth: { username: "ginkgo", password_file: password } }],
    },
    { tenant: "old", upstreams: ["soft"] },
  ],
  { cache },
);
const wrong = (body) =>
  fetch(faulty.remoteWrite, {
    method: "POST",
    body,
    headers: {
      authorization: `Basic ${Buffer.from("ginkgo:wrong").toString("base64")}`,
      "content-type": "application/x-protobuf",
      "content-encoding": "snappy",
    },
  });
for (const tenant of ["fine", "ruled", "old"]) await faulty.send(tenant, { __name__: "up" }, { __name__: "go_info" });
for (let round = 0; round < 5; round += 1) await faulty.send("small", { __name__: "up", text: "long".repeat(round + 50) });
for (let round = 0; round < 3; round += 1) await faulty.send("slow", { __name__: "up", round: String(round) });
await wrong(written([{ __name__: "up" }]));
faulty.tenant({ tenant: "old", upstreams: ["soft"], credentials: [{ bearer_token_sha256: sha256("new") }] });
faulty.file("tenants/ruled.yaml", "tenant: ruled\ndisabeld: true\n");
await fetch(`${faulty.admin}-/reload`, { method: "POST" });
await faulty.send("old", { __name__: "up" });

await check("nobody is called well whose writes are refused, and what is refused is told with its limit", async () => {
  const page = await settled("#/tenants/fine", {}, faulty.admin);
  const banner = (pattern, what) =>
    page.until(`${pattern}.test(document.querySelector('.page').firstElementChild.innerText)`, what);
  await banner("/^well\\s+Samples were last stored.* (ago|just now)/", "that it is well, and since when");
  for (const [tenant, pattern] of [
    ["small", "/Every write of small since the gateway started is refused: body_too_large[^]*max_body_size is 64.B/"],
    ["named", "/Nothing of named is stored since the gateway started: who comes with its name is refused: wrong_cred/"],
    ["old", "/credential_removed[^]*bearer token was taken out by the reload at \\d\\d:\\d\\d. Its writes wait .* until/"],
    ["slow", "/limits: samples allows 0\\.5 a second and 1 at once/"],
  ]) {
    await page.open(`${faulty.admin}#/tenants/${tenant}`);
    await banner(pattern, `what is wrong with ${tenant}`);
    same(await page.value("document.querySelector('.calm .good') === null"), true, `${tenant} is not called well`);
  }
  await page.until("/0\\.5 of them come back each second/.test(document.querySelector('main').innerText)", "a rate of a half");
  await page.until("document.querySelector('[data-counted=waiting] strong')?.textContent === '2'", "what waits");
  same(await page.value("document.querySelector('[data-counted=rejected] strong').textContent"), "0", "what is lost");
  await page.open(`${faulty.admin}#/tenants/small`);
  await page.until("document.querySelector('.refusals')?.innerText.includes('5 or more times')", "how often");
  const heads = await page.value("[...document.querySelectorAll('main h2')].slice(0, 2).map((one) => one.textContent)");
  same(heads, ["Last refusals", "What flows"], "what stands under the banner");
  await page.open(`${faulty.admin}#/tenants/ruled`);
  await banner("/The new file of ruled is refused since \\d\\d:\\d\\d; its older configuration/", "the file that is refused");
  await page.until("document.querySelector('.rule')?.textContent === 'drop where __name__ =~ \"go_.*\"'", "the rule");
  none(page.complaints, "complaints");
  await page.close();
});

await check("refused and silent tenants need attention, with the way to their pages", async () => {
  const page = await settled("#/", {}, faulty.admin);
  await page.value("document.querySelector('.attention button')?.click()");
  for (const tenant of ["small", "named", "old", "ruled"])
    await page.until(
      `[...document.querySelectorAll('.problem-title a')].some((one) => one.hash === '#/tenants/${tenant}')`,
      `${tenant} under what needs attention`,
    );
  same(
    await page.value("[...document.querySelectorAll('.problem-title a')].some((one) => one.textContent === 'fine')"),
    false,
    "fine needs attention",
  );
  await page.until(
    "[...document.querySelectorAll('.compact tbody tr')].filter((row) => row.textContent.includes('body_too_large')).length === 1",
    "one row of what was refused five times",
  );
  none(page.complaints, "complaints");
  await page.close();
});
await faulty.stop();
rmSync(password);

await check("policies' calls and upstreams' samples are those of /metrics", async () => {
  const page = await settled("#/policies");
  const rows = await page.until(
    "document.querySelector('.policies .grid-body .grid-row') && [...document.querySelectorAll('.policies .grid-body .grid-row')].map((row) => [0, 1, 4, 5].map((at) => row.children[at].textContent))",
    "policies",
  );
  const metric = await gateway.metrics();
  same(rows.length, 3, "policies");
  for (const [tenant, policy, calls] of rows)
    same(number(calls), metric("gauntlet_policy_calls_total", { tenant, policy }), `calls of ${policy} of ${tenant}`);
  await page.open(at("#/upstreams"));
  const outcomes = await page.until(
    "document.querySelector('[data-outcome]') && [...document.querySelectorAll('.upstream')].map((one) => [one.querySelector('h2').textContent, Object.fromEntries([...one.querySelectorAll('[data-outcome]')].map((item) => [item.dataset.outcome, item.querySelector('strong').textContent]))])",
    "answers of upstreams",
  );
  for (const [upstream, answers] of outcomes)
    for (const [outcome, text] of Object.entries(answers))
      same(
        number(text),
        metric("gauntlet_upstream_requests_total", { upstream, outcome }),
        `${outcome} of ${upstream}`,
      );
  await page.close();
});

await check("the playground says what the pipeline does, of hostile labels too, and shows them as text", async () => {
  const page = await settled("#/playground");
  for (const [place, [tenant, labels]] of SERIES.entries()) {
    const text = textOf(labels);
    await page.open(at(`#/playground?tenant=${tenant}&series=${encodeURIComponent(text)}`));
    await page.until(
      `document.querySelector('.answer h2')?.textContent === ${JSON.stringify(text)} && !document.querySelector('button:disabled')`,
      `what becomes of ${text.slice(0, 80)}`,
    );
    const shown = await page.value(
      "(({ dataset, innerText }) => ({ status: Number(dataset.status), forwarded: dataset.forwarded, text: innerText }))(document.querySelector('.answer'))",
    );
    const before = gateway.got.length;
    const { status } = await gateway.send(tenant, labels);
    const [got] = gateway.got.slice(before).filter((one) => one.tenant === tenant);
    same([shown.status, shown.forwarded], [status, got?.series ?? ""], `${tenant}: ${text.slice(0, 200)}`);
    same(sent[place].status, status, "the first time and now");
    same(await page.value("window.hacked ?? null"), null, "what a label did");
    same(await page.value("document.querySelectorAll('main h1').length"), 1, "headings");
    same(
      await page.value(
        "[...document.querySelectorAll('main .answer *')].filter((one) => ['SCRIPT', 'IMG', 'IFRAME', 'B'].includes(one.tagName)).length",
      ),
      0,
      "elements that labels made",
    );
  }
  none(page.complaints, "complaints");
  await page.close();
  return `${SERIES.length} series`;
});

await check("the playground tries other policies", async () => {
  const policies = JSON.stringify([
    {
      policy: "mine",
      plugin: "relabel",
      settings: { relabel_configs: [{ action: "replace", target_label: "added", replacement: "<b>here</b>" }] },
    },
  ]);
  const page = await settled(`#/playground?tenant=kazusa&series=go_info&policies=${encodeURIComponent(policies)}`);
  const text = await page.until("document.querySelector('.answer')?.dataset.forwarded", "an answer");
  same(text, 'go_info{added="<b>here</b>"}', "what goes on");
  await page.value("document.querySelector('#policies').value = '{'; document.querySelector('.play').requestSubmit()");
  await page.until(
    "document.querySelector('.error').textContent.startsWith('The policies are no JSON')",
    "what is wrong",
  );
  none(page.complaints, "complaints");
  await page.close();
});

await check("examples of what was dropped are text", async () => {
  const page = await settled("#/tenants/kazusa");
  await page.until(
    `[...document.querySelectorAll('.examples .series')].some((one) => one.textContent === ${JSON.stringify(textOf({ __name__: "go_info", text: HOSTILE.script }))})`,
    "the series that was dropped",
  );
  same(await page.value("window.hacked ?? null"), null, "what a label did");
  none(page.complaints, "complaints");
  await page.close();
});

await check("what is refused is explained with what to do, and where", async () => {
  const page = await settled("#/tenants/setsuna");
  await page.until(
    "document.querySelector('[data-reason=label_value_too_long]')?.textContent.includes('raise limits.max_label_value_length')",
    "what to do about label_value_too_long",
  );
  await page.open(at("#/tenants/limited"));
  await page.until(
    "document.querySelector('[data-reason=over_rate]')?.textContent.includes('per_second')",
    "what to do about over_rate",
  );
  await page.open(at("#/"));
  await page.until(
    "document.querySelector('main').innerText.includes('wrong_credential')",
    "a sender that nobody knows",
  );
  gateway.file("tenants/broken.yaml", "tenant: broken\ncredentials: []\ndisabeld: true\n");
  await fetch(`${gateway.admin}-/reload`, { method: "POST" });
  await page.until(
    "document.querySelector('.problems')?.innerText.includes('broken.yaml:3:1: unknown key `disabeld`')",
    "the broken tenant with file, line and column",
  );
  await page.open(at("#/policies"));
  await page.until(
    "document.querySelector('.reloads')?.innerText.includes('unknown key `disabeld`')",
    "the reload and its error",
  );
  await page.open(at("#/upstreams"));
  await page.until(
    "document.querySelector('main').innerText.includes('passed over') || document.querySelector('main').innerText.includes('refused')",
    "why no endpoint of `dead` is well",
  );
  await page.close();
});

await check("every text has the contrast of WCAG AA, light and dark", async () => {
  let all = 0;
  for (const theme of ["light", "dark"])
    for (const hash of Object.keys(PAGES)) {
      const page = await settled(hash, { theme });
      const { seen, faint } = await page.value(FAINT);
      none(faint, `${hash}, ${theme}`);
      if (seen < 20) throw new Error(`${hash} has only ${seen} texts`);
      all += seen;
      await page.close();
    }
  return `${all} texts`;
});

await check("the switch of the theme holds against the system's, and is kept", async () => {
  const page = await settled("#/", { theme: "light" });
  const ground = "getComputedStyle(document.body).backgroundColor";
  const light = await page.value(ground);
  await page.value("document.getElementById('theme').click()");
  same(await page.value(ground), light, "light by choice");
  await page.value("document.getElementById('theme').click()");
  if ((await page.value(ground)) === light) throw new Error("dark by choice looks as light does");
  await page.open(at("#/upstreams"));
  if ((await page.value(ground)) === light) throw new Error("the choice is forgotten");
  await page.value("document.getElementById('theme').click()");
  await page.close();
});

await check("keys reach everything, and one sees where they are", async () => {
  let reached = 0;
  for (const hash of Object.keys(PAGES)) {
    const page = await settled(hash, { height: 1400 });
    const all = await page.value(MARK);
    const seen = new Set();
    let rows = 0;
    for (let steps = 0; steps < all + 60; steps += 1) {
      await page.press("Tab");
      const focus = await page.value(FOCUS);
      if (focus.isBody) break;
      if (!focus.isSeen || !focus.name)
        throw new Error(`${hash}: the focus is on ${focus.tag}, is seen: ${focus.isSeen}, is called: ${focus.name}`);
      if (focus.inTable) rows += 1;
      else if (focus.at !== null) seen.add(Number(focus.at));
    }
    const missing = await page.value(
      `[...document.querySelectorAll('[data-reach]')].filter((one) => !${JSON.stringify([...seen])}.includes(Number(one.dataset.reach))).map((one) => one.outerHTML.slice(0, 120))`,
    );
    none(missing, `${hash}: never reached`);
    if (["#/", "#/policies"].includes(hash) && rows < 3)
      throw new Error(`${hash}: ${rows} rows of the table were reached`);
    reached += seen.size + rows;
    await page.close();
  }
  const page = await settled("#/");
  await page.press("/");
  await page.type("kazu");
  await page.press("Enter");
  await page.until("document.querySelector('h1').textContent === 'kazusa'", "the one tenant that was searched for");
  same(await page.value("document.activeElement.tagName"), "H1", "focus after going there");
  await page.close();
  return `${reached} places`;
});

await check("a narrow screen scrolls no page sideways", async () => {
  for (const hash of Object.keys(PAGES)) {
    const page = await settled(hash, { width: 375, height: 800 });
    const { scroll, width, wide } = await page.value(WIDE);
    if (scroll > width || wide.length) throw new Error(`${hash} is ${scroll} wide on ${width}: ${wide}`);
    await page.close();
  }
});

await check("without the stream it asks, without the gateway it says so", async () => {
  const page = await settled("#/");
  await page.until("document.getElementById('state').textContent.trim() === 'live'", "that it is live");
  await page.send("Network.setBlockedURLs", { urls: ["*/api/v1/events"] });
  await page.send("Page.reload");
  await page.until(
    "document.getElementById('state')?.textContent.trim() === 'asking' && document.querySelectorAll('.tenants .grid-body .grid-row').length >= 4",
    "that it asks, and all tenants",
  );
  await page.close();
});

const { crowd: many, url, stop } = await crowd(500);
many.pace = 1000;

await check("500 tenants: every frame stays under 100 ms, only rows in view exist, search finds", async () => {
  const page = await settled("#/", { reducedMotion: true }, url);
  await page.until("document.querySelector('.count')?.textContent === '500 tenants'", "500 tenants");
  const worst = [];
  // A busy machine makes any frame long: of three rounds the best one counts.
  for (let round = 0; round < 3; round += 1) {
    await page.value(WATCH);
    await page.value("new Promise((done) => setTimeout(done, 2500))");
    for (let step = 0; step < 12; step += 1)
      await page.value(
        `new Promise((done) => { scrollTo(0, ${step} * 1300); requestAnimationFrame(() => setTimeout(done, 60)); })`,
      );
    await page.value(
      "document.querySelector('.tenants .grid-head [role=columnheader]:nth-child(4) button').click(); scrollTo(0, 0)",
    );
    await page.value("new Promise((done) => setTimeout(done, 300))");
    worst.push(Math.round(await page.value(LONGEST)));
    if (worst.at(-1) < MAX_FRAME) break;
  }
  if (Math.min(...worst) >= MAX_FRAME) throw new Error(`the longest frames of the rounds took ${worst.join(", ")} ms`);
  await page.value("scrollTo(0, 9000)");
  await page.until(
    "[...document.querySelectorAll('.tenants .grid-body .grid-row')].some((row) => Number(row.getAttribute('aria-rowindex')) > 200)",
    "rows further down",
  );
  const rows = await page.value("document.querySelectorAll('.tenants .grid-body .grid-row').length");
  if (rows > 60) throw new Error(`${rows} rows are in the page`);
  await page.value(
    "(({ value }, input) => { input.value = 'over_active_series'; input.dispatchEvent(new Event('input')); })({}, document.querySelector('.page .tools input'))",
  );
  await page.until(
    "/^\\d+ tenants of 500$/.test(document.querySelector('.count').textContent)",
    "those with this reason",
  );
  none(page.complaints, "complaints");
  await page.close();
  // What the browser counts as a long frame begins at 50 ms.
  const longest = Math.min(...worst);
  return `${longest ? `longest frame ${longest} ms` : "no frame of 50 ms"}, ${rows} rows in the page`;
});

await check("500 tenants: the policies' page asks for little, and every frame stays under 100 ms", async () => {
  const page = await settled("#/policies", { reducedMotion: true }, url);
  const rows = await page.until(
    "Number(document.querySelector('.count')?.textContent.match(/^[\\d,]+/)?.[0].replace(',', ''))",
    "all policies",
  );
  const worst = [];
  for (let round = 0; round < 3; round += 1) {
    await page.value(WATCH);
    // Long enough that the rows come again.
    await page.value("new Promise((done) => setTimeout(done, 11000))");
    await page.value("document.querySelector('.policies .grid-head [role=columnheader]:nth-child(4) button').click()");
    await page.value("new Promise((done) => setTimeout(done, 300))");
    worst.push(Math.round(await page.value(LONGEST)));
    if (worst.at(-1) < MAX_FRAME) break;
  }
  if (Math.min(...worst) >= MAX_FRAME) throw new Error(`the longest frames of the rounds took ${worst.join(", ")} ms`);
  const sizes = await page.value(
    "Promise.all(performance.getEntriesByType('resource').filter(({ name }) => name.includes('/api/v1/policies')).map(async ({ name }) => [name, (await (await fetch(name)).text()).length]))",
  );
  const [many] = sizes.filter(([name]) => name.includes("tenant,policy"));
  const all = await page.value("fetch('api/v1/policies').then((answer) => answer.text()).then((text) => text.length)");
  if (!many || many[1] > all / 2) throw new Error(`${JSON.stringify(sizes)} of ${all} bytes`);
  none(page.complaints, "complaints");
  await page.close();
  const longest = Math.min(...worst);
  return `${rows} policies in ${Math.round(many[1] / 1024)} of ${Math.round(all / 1024)} KiB, ${longest ? `longest frame ${longest} ms` : "no frame of 50 ms"}`;
});

await check("a certificate that ends soon is told", async () => {
  const page = await settled("#/tenants/galley-sin", {}, url);
  await page.until("/soon in 9.days/.test(document.querySelector('main').innerText)", "when it ends");
  await page.close();
});

await check("who fell silent needs attention, and is found", async () => {
  const page = await settled("#/", {}, url);
  await page.value("document.querySelector('.attention button')?.click()");
  const [title, link] = await page.until(
    "[...document.querySelectorAll('.problem-title')].filter((one) => one.textContent.includes('is silent')).map((one) => [one.textContent, one.querySelector('a').hash])[0]",
    "who is silent",
  );
  if (!/its last write came 6.min ago, and nothing was refused since/.test(title)) throw new Error(title);
  await page.open(`${url}${link}`);
  await page.until("document.querySelector('.problem')?.innerText.startsWith('silent')", "the same on its page");
  await page.close();
  return title;
});

await check("strangers' words in a row, a reason and a refusal are text", async () => {
  many.hostile(HOSTILE.image, HOSTILE.script, HOSTILE.markup + HOSTILE.rtl + HOSTILE.long);
  const page = await settled("#/", { width: 375 }, url);
  await page.until(
    `document.querySelector('.tenants .grid-body .grid-row .name')?.textContent === ${JSON.stringify(HOSTILE.image)}`,
    "the tenant with that name first",
  );
  await page.until(
    `[...document.querySelectorAll('.tenants .reason')].some((one) => one.textContent === ${JSON.stringify(HOSTILE.script)})`,
    "its reason",
  );
  same((({ scroll, width }) => scroll <= width)(await page.value(WIDE)), true, "as narrow as the screen");
  await page.open(`${url}#/tenants/${encodeURIComponent(HOSTILE.image)}`);
  await page.until(
    `document.querySelector('h1').textContent === ${JSON.stringify(HOSTILE.image)} && document.querySelector('.refusals')?.textContent.includes(${JSON.stringify(HOSTILE.markup)})`,
    "its page",
  );
  same((({ scroll, width }) => scroll <= width)(await page.value(WIDE)), true, "its page as narrow as the screen");
  same(await page.value("window.hacked ?? null"), null, "what a word did");
  same(
    await page.value("[...document.querySelectorAll('main script, main img, main h1')].length"),
    1,
    "elements that words made",
  );
  none(page.complaints, "complaints");
  await page.close();
});

await check("who may not ask, and a gateway that is gone, are told in sentences", async () => {
  const page = await settled("#/", {}, url);
  many.refuse = 401;
  await page.until(
    "document.getElementById('problem').textContent.includes('admin.basic_auth')",
    "what to do about 401",
  );
  many.refuse = undefined;
  await page.until("document.getElementById('problem').hidden", "that it is over");
  stop();
  await page.until(
    "document.getElementById('problem').textContent.includes('does not answer') && document.getElementById('state').textContent.trim() === 'no answer'",
    "that nothing answers",
  );
  await page.close();
});

await browser.stop();
await gateway.stop();
console.log(failed ? `${failed} failed` : "all is well");
process.exit(failed ? 1 : 0);
