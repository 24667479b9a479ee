// What a browser test gets that is about versions of HTTP: a blank page, by one of longhaul's listeners.

import path from "node:path";
import { pledge } from "../node/runner.mjs";
import { closeAll, visit } from "./house.mjs";

const TALKS = path.resolve(import.meta.dirname, "../talks");

/** The versions of HTTP that pages and tunnels come by. */
const VERSIONS = {
  plain: { page: "1.1", tunnel: "1.1" },
  older: { page: "1.1", tunnel: "1.1" },
  // Chromium opens a connection of HTTP/1.1 for a tunnel where extended CONNECT is not offered.
  secure: { page: "2", tunnel: "1.1" },
  extended: { page: "2", tunnel: "2" },
};

export class Lane {
  constructor(name, street, browser) {
    this.name = name;
    this.versions = VERSIONS[name];
    this.street = street;
    this.longhaul = street.longhaul;
    this.browser = browser;
    this.site = `${name === "plain" ? "http" : "https"}://localhost:${this.longhaul.port(name)}`;
  }

  /** Opens a blank page. `page.answer(path)` is what the browser says of how that path was answered first. */
  async visit(use) {
    return visit(this.browser, "about:blank", {}, async (page) => {
      const devtools = await page.context().newCDPSession(page);
      await devtools.send("Network.enable");
      const answers = new Pledges();
      const urls = {};
      const note = (url, response) => answers.of(new URL(url).pathname).resolve(response);
      devtools.on("Network.responseReceived", ({ response }) => note(response.url, response));
      devtools.on("Network.webSocketCreated", ({ requestId, url }) => (urls[requestId] = url));
      devtools.on("Network.webSocketHandshakeResponseReceived", ({ requestId, response }) => {
        note(urls[requestId], response);
      });
      page.answer = async (path) => answers.of(path).promise;
      await page.goto(`${this.site}/web/page`);
      return use(page);
    });
  }

  /** Opens a page that has the talks and what they need; its `call` names one of them. */
  async guest(use) {
    await this.visit(async (page) => {
      for (const url of ["/web/socket.io/socket.io.min.js", "/web/phoenix.js"]) await page.addScriptTag({ url });
      for (const file of ["socketio.js", "phoenix.js"]) await page.addScriptTag({ path: path.join(TALKS, file) });
      page.call = async (name, ...words) => {
        const call = ([names, words]) => names.reduce((place, word) => place[word], globalThis)(...words);
        return page.evaluate(call, [name.split("."), words]);
      };
      await use(page);
    });
  }

  /** How many connections clients have opened to this listener until now. */
  async connections() {
    return this.longhaul.metric("longhaul_connections_total", { listener: this.name });
  }

  /** The faults of connections to this listener until now, of one kind or of all. */
  async faults(reason) {
    const labels = reason ? { listener: this.name, reason } : { listener: this.name };
    return this.longhaul.metric("longhaul_connection_errors_total", labels);
  }

  async isQuiet() {
    await this.street.isQuiet();
  }

  async recover() {
    await closeAll(this.browser);
    this.street.clear();
  }

  describe() {
    this.longhaul.process.describe();
  }
}

/** Pledges by name. */
class Pledges {
  #pledges = new Map();

  of(name) {
    if (!this.#pledges.has(name)) this.#pledges.set(name, pledge());
    return this.#pledges.get(name);
  }
}
