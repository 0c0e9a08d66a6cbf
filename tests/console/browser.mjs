// A real Chromium without a window, driven by the DevTools protocol over a pipe.
//
// Takes addresses and expressions, gives what pages show, what they complained of and whom they asked. Needs nothing but
// the browser and node.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Long enough that only a page that hangs waits for it. */
const PATIENCE = 20_000;

export class Browser {
  #process;
  #folder;
  #next = 1;
  #waiting = new Map();
  #pages = new Map();
  #rest = "";

  static async start(program = process.env.CHROMIUM ?? "chromium") {
    const browser = new Browser();
    browser.#folder = mkdtempSync(join(tmpdir(), "console-"));
    const sandbox = process.getuid() === 0 ? ["--no-sandbox"] : [];
    browser.#process = spawn(
      program,
      [
        "--headless=new",
        ...sandbox,
        "--remote-debugging-pipe",
        `--user-data-dir=${browser.#folder}`,
        "--no-first-run",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
      ],
      { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
    );
    browser.#process.on("error", (error) => browser.#end(new Error(`${program} cannot be started: ${error.message}`)));
    process.on("exit", () => browser.#process.kill());
    browser.#process.on("exit", (code) => browser.#end(new Error(`the browser ended (${code})`)));
    browser.#process.stdio[4].setEncoding("utf8").on("data", (text) => browser.#read(text));
    await browser.send("Browser.getVersion");
    return browser;
  }

  #read(text) {
    const messages = (this.#rest + text).split("\0");
    this.#rest = messages.pop();
    for (const message of messages.map((one) => JSON.parse(one))) {
      if (message.id === undefined) {
        this.#pages.get(message.sessionId)?.heard(message);
        continue;
      }
      const { resolve, reject, method } = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) reject(new Error(`${method}: ${message.error.message}`));
      else resolve(message.result);
    }
  }

  #end(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  send(method, params = {}, sessionId) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, method });
      this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  async page({ width = 1280, height = 900, theme = "light", reducedMotion = false } = {}) {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, targetId);
    this.#pages.set(sessionId, page);
    for (const domain of ["Page", "Runtime", "Log", "Network", "Performance"]) await page.send(`${domain}.enable`);
    await page.resize(width, height);
    await page.send("Emulation.setEmulatedMedia", {
      features: [
        { name: "prefers-color-scheme", value: theme },
        { name: "prefers-reduced-motion", value: reducedMotion ? "reduce" : "no-preference" },
      ],
    });
    return page;
  }

  async stop() {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    // Asked to end, it waits for its children, which else still write; one that does not is made to.
    this.send("Browser.close").catch(() => {});
    const patience = setTimeout(() => this.#process.kill("SIGKILL"), 5000);
    await gone;
    clearTimeout(patience);
    try {
      rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
    } catch (error) {
      console.log(`${this.#folder} is left behind: ${error.message}`);
    }
  }
}

class Page {
  /** Whatever is not as it should be, in words. */
  complaints = [];
  /** The URL of every request. */
  asked = [];
  #browser;
  #session;
  #target;

  constructor(browser, session, target) {
    this.#browser = browser;
    this.#session = session;
    this.#target = target;
  }

  send(method, params) {
    return this.#browser.send(method, params, this.#session);
  }

  heard({ method, params }) {
    if (method === "Runtime.exceptionThrown")
      this.complaints.push(
        `exception: ${params.exceptionDetails.exception?.description ?? params.exceptionDetails.text}`,
      );
    if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(params.type))
      this.complaints.push(`console: ${params.args.map((arg) => arg.value ?? arg.description).join(" ")}`);
    if (method === "Log.entryAdded" && ["error", "warning"].includes(params.entry.level))
      this.complaints.push(`log: ${params.entry.text} ${params.entry.url ?? ""}`);
    if (method === "Network.requestWillBeSent") this.asked.push(params.request.url);
  }

  resize(width, height) {
    return this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  async open(url) {
    await this.send("Page.navigate", { url });
    await this.until("document.querySelector('h1')?.textContent", "a heading");
  }

  /** What an expression of the page is worth. */
  async value(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails)
      throw new Error(
        `${expression.slice(0, 200)}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`,
      );
    return result.value;
  }

  /** Waits until it is worth something, and gives that. */
  async until(expression, what = expression) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const value = await this.value(expression);
      if (value) return value;
      if (Date.now() > end)
        throw new Error(
          `the page never shows ${what}; it shows: ${(await this.value("document.body.innerText")).slice(0, 1500)}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async press(key, { shift = false } = {}) {
    const text = { Enter: "\r" }[key] ?? (key.length === 1 ? key : undefined);
    const event = {
      key,
      code: key.length === 1 ? undefined : key,
      text,
      modifiers: shift ? 8 : 0,
      windowsVirtualKeyCode: { Tab: 9, Enter: 13, ArrowDown: 40, ArrowUp: 38 }[key],
    };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  type(text) {
    return this.send("Input.insertText", { text });
  }

  async picture({ whole = false } = {}) {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: whole });
    return Buffer.from(data, "base64");
  }

  close() {
    return this.#browser.send("Target.closeTarget", { targetId: this.#target });
  }
}
