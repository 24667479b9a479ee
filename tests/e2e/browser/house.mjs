// What a browser test gets: pages of `longhaul demo`, by https or by http.

import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";
import { metricBecomes, Process, readMetric } from "../node/proxy.mjs";

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const ADDRESSES = {
  secure: /https:\/\/localhost:\d+\//,
  plain: /\bws:\/\/localhost:\d+\/ws/,
  metrics: /http:\/\/127\.0\.0\.1:\d+\/metrics/,
};

/** A process of `longhaul demo` and the addresses that it told. */
export class Demo {
  static async start() {
    const one = new Demo();
    one.addresses = {};
    one.process = await Process.start(["demo"], (line) => {
      for (const [name, pattern] of Object.entries(ADDRESSES)) {
        one.addresses[name] ??= pattern.exec(line)?.[0];
      }
      return Object.values(one.addresses).every(Boolean);
    });
    return one;
  }

  /** The page's address on the listener `plain` or `secure`. */
  page(listener) {
    return this.addresses[listener].replace(/^ws(.*)\/ws$/, "http$1/");
  }
}

export async function startBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

/** Opens a page with our words in it, and closes all of it when the function is done. */
export async function visit(browser, address, options, use) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  try {
    await context.addInitScript({ path: path.join(import.meta.dirname, "in_page.js") });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.complaints = [];
    page.on("pageerror", (error) => page.complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") page.complaints.push(message.text());
    });
    await page.goto(address);
    return await use(page);
  } finally {
    await context.close();
  }
}

/** Closes what a test that failed has left open. */
export async function closeAll(browser) {
  for (const context of browser.contexts()) await context.close();
}

export class House {
  constructor(name, demo, browser) {
    this.name = name;
    this.demo = demo;
    this.browser = browser;
    this.address = demo.page(name);
  }

  /** Opens the demo page, waits until its tunnel is open, and closes all when the function is done. */
  async visit(use, options = {}) {
    return visit(this.browser, this.address, options, async (page) => {
      await page.locator("#state", { hasText: "Open" }).waitFor();
      return use(page);
    });
  }

  async metric(name) {
    return readMetric(this.demo.addresses.metrics, name, {});
  }

  async metricBecomes(value, name) {
    await metricBecomes(this.demo.addresses.metrics, value, name);
  }

  /** After every test: no tunnel is left. */
  async isQuiet() {
    await this.metricBecomes(0, "longhaul_tunnels_active");
  }

  async recover() {
    await closeAll(this.browser);
  }

  describe() {
    this.demo.process.describe();
  }
}

/** The directory for screenshots: `$SCREENSHOTS`, else a new one. */
export function screenshotDirectory() {
  if (!process.env.SCREENSHOTS) return mkdtempSync(path.join(tmpdir(), "longhaul-screenshots-"));
  mkdirSync(process.env.SCREENSHOTS, { recursive: true });
  return process.env.SCREENSHOTS;
}
