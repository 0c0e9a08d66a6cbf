// Pictures of the console for docs/console: the pages with 500 made-up tenants, and the playground of a real gateway.
//
// Takes the program, writes PNG files. To be looked at: whether the page is right is for check.mjs.

import { mkdirSync, writeFileSync } from "node:fs";
import { Browser } from "./browser.mjs";
import { crowd } from "./crowd.mjs";
import { Gateway, textOf } from "./gateway.mjs";

const [program, cache] = process.argv.slice(2);
const FOLDER = new URL("../../docs/console/", import.meta.url);
/** In bytes. */
const MAX_SIZE = 200_000;

const CHAIN = {
  tenant: "kazusa",
  upstreams: ["soft"],
  policies: [
    {
      plugin: "relabel",
      settings: {
        relabel_configs: [
          { action: "labeldrop", regex: "replica" },
          { action: "replace", source_labels: ["job"], regex: "api", target_label: "team", replacement: "web" },
          { action: "drop", source_labels: ["__name__"], regex: "go_.*" },
        ],
      },
    },
    { plugin: "limits", settings: { samples: { per_second: 50000, burst: 200000 } } },
  ],
};
const FOLLOWED = [
  { __name__: "http_requests_total", code: "200", job: "api", replica: "a" },
  { __name__: "go_goroutines", job: "api" },
]
  .map(textOf)
  .join("\n");

const browser = await Browser.start();
const gateway = await Gateway.start(program, [CHAIN], { cache });
const { url, stop } = await crowd(500);
mkdirSync(FOLDER, { recursive: true });

const PICTURES = [
  ["overview", url, "#/", 1200, 1020, "light"],
  ["overview-dark", url, "#/", 1200, 1020, "dark"],
  ["tenant", url, "#/tenants/galley-sin", 1200, 1280, "light"],
  ["policies", url, "#/policies", 1200, 860, "dark"],
  ["upstreams", url, "#/upstreams", 1200, 780, "light"],
  [
    "playground",
    gateway.admin,
    `#/playground?tenant=kazusa&series=${encodeURIComponent(FOLLOWED)}`,
    1200,
    860,
    "light",
  ],
  ["narrow", url, "#/", 375, 1500, "light"],
];
for (const [name, base, hash, width, height, theme] of PICTURES) {
  const page = await browser.page({ width, height, theme });
  await page.open(base + hash);
  if (name === "playground") await page.until("document.querySelectorAll('.answer').length === 2", "both answers");
  // Everything is asked for at once, and comes within this.
  await page.value("new Promise((done) => setTimeout(done, 2500))");
  const picture = await page.picture();
  if (picture.length > MAX_SIZE) throw new Error(`${name}.png has ${picture.length} bytes`);
  writeFileSync(new URL(`${name}.png`, FOLDER), picture);
  console.log(`docs/console/${name}.png  ${Math.round(picture.length / 1024)} KiB`);
  await page.close();
}
stop();
await browser.stop();
await gateway.stop();
process.exit(0);
