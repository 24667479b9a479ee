// A process of longhaul: its certificate, its configuration, its log and its metrics.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { pledge, within } from "./runner.mjs";

const E2E = path.resolve(import.meta.dirname, "..");
const START_MS_MAX = 10_000;
const STOP_MS_MAX = 10_000;
const LOG_LINES_MAX = 40;
const METRIC_MS_MAX = 10_000;

/** The longhaul to test: `$LONGHAUL`, else the one that `cargo build` makes. */
export const binary = process.env.LONGHAUL || path.resolve(E2E, "../../target/debug/longhaul");

/** A process whose lines are read; `seeLine` says true when it has heard enough to go on. */
export class Process {
  static async start(words, seeLine) {
    const one = new Process();
    const started = pledge();
    one.log = [];
    one.child = spawn(binary, words, { stdio: ["ignore", "pipe", "pipe"] });
    one.ended = new Promise((resolve) => one.child.on("close", (status, signal) => resolve(signal ?? status)));
    one.child.on("error", started.reject);
    one.ended.then((status) => started.reject(new Error(`longhaul ended with ${status}`)));
    for (const output of [one.child.stdout, one.child.stderr]) {
      createInterface({ input: output }).on("line", (line) => {
        one.log = [...one.log, line].slice(-LOG_LINES_MAX);
        if (seeLine(line)) started.resolve();
      });
    }
    try {
      await within(START_MS_MAX, started.promise);
    } catch (error) {
      one.describe();
      one.child.kill("SIGKILL");
      throw error;
    }
    return one;
  }

  /** Sends SIGTERM and returns the exit status, or the signal that ended the process. */
  async stop() {
    this.child.kill("SIGTERM");
    await within(STOP_MS_MAX, this.ended).catch(() => this.child.kill("SIGKILL"));
    return this.ended;
  }

  /** Prints the end of the log: called when a test has failed. */
  describe() {
    for (const line of this.log) console.log(`    longhaul: ${line}`);
  }
}

/** `longhaul run` with a configuration of this folder; `ports` has a port for each word between @ in the file. */
export class Longhaul {
  static async start(ports, file = "longhaul.toml") {
    const one = new Longhaul();
    one.directory = mkdtempSync(path.join(tmpdir(), "longhaul-e2e-"));
    execFileSync(path.join(E2E, "make-certificate"), [one.directory], { stdio: "pipe" });
    one.certificate = readFileSync(path.join(one.directory, "server.pem"), "utf8");
    const template = readFileSync(path.join(E2E, file), "utf8");
    const config = path.join(one.directory, "longhaul.toml");
    // Metrics and admin have one each.
    one.addressesWanted = 2 + template.match(/^\[\[listeners\]\]$/gm).length;
    writeFileSync(config, template.replace(/@([a-z0-9-]+)@/g, (_, word) => ports[word]));
    one.addresses = {};
    one.process = await Process.start(["run", "--config", config], (line) => one.#seeLine(line));
    return one;
  }

  #seeLine(line) {
    try {
      const record = JSON.parse(line);
      if (record.message === "listening") this.addresses[record.listener] = record.address;
      if (["metrics", "admin"].includes(record.message)) this.addresses[record.message] = record.address;
    } catch {
      // not every line must be a record
    }
    return Object.keys(this.addresses).length === this.addressesWanted;
  }

  /** The port that the listener `plain` or `secure` or another was given. */
  port(listener) {
    return Number(this.addresses[listener].split(":").at(-1));
  }

  /** The tunnels that are open, oldest first. */
  async tunnels() {
    const url = `http://${this.addresses.admin}/api/v1/tunnels?limit=1000`;
    return (await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).json()).tunnels;
  }

  metric(name, labels = {}) {
    return readMetric(`http://${this.addresses.metrics}/metrics`, name, labels);
  }

  async metricBecomes(value, name, labels = {}) {
    await metricBecomes(`http://${this.addresses.metrics}/metrics`, value, name, labels);
  }

  async stop() {
    const status = await this.process.stop();
    rmSync(this.directory, { recursive: true });
    return status;
  }
}

/** The sum of the series of `name` that carry `labels`; 0 when there is none. */
export async function readMetric(url, name, labels) {
  const text = await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).text();
  const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  let sum = 0;
  for (const line of text.split("\n")) {
    const [, series, fields, value] = /^(\w+)(?:\{([^}]*)\})? (\S+)$/.exec(line) ?? [];
    if (series === name && wanted.every((one) => fields?.split(",").includes(one))) sum += Number(value);
  }
  return sum;
}

/** Waits for the metric to be `value`. */
export async function metricBecomes(url, value, name, labels = {}) {
  const end = performance.now() + METRIC_MS_MAX;
  for (;;) {
    const seen = await readMetric(url, name, labels);
    if (seen === value) return;
    if (performance.now() > end) throw new Error(`${name} ${JSON.stringify(labels)} is ${seen}, not ${value}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
