// What a test gets: longhaul between clients and backends, entered through one of its listeners.

import http from "node:http";
import https from "node:https";
import * as Phoenix from "phoenix";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { pledge } from "./runner.mjs";

export class House {
  constructor(name, street) {
    this.name = name;
    this.street = street;
    this.longhaul = street.longhaul;
    this.backends = street.backends;
    this.secure = name === "secure";
    this.authority = `localhost:${this.longhaul.port(name)}`;
    this.origin = `${this.secure ? "wss" : "ws"}://${this.authority}`;
    this.site = this.origin.replace("ws", "http");
    /** The version of HTTP that tunnels come by. */
    this.versions = { tunnel: "1.1" };
  }

  /** Lets `use` call the talks, as a page would hold them; their clients leave when it is done. */
  async guest(use) {
    Object.assign(globalThis, { io, Phoenix });
    await import("../talks/socketio.js");
    await import("../talks/phoenix.js");
    try {
      await use({ call: async (name, ...words) => find(name)(...words) });
    } finally {
      await leave();
    }
  }

  /** Opens a WebSocket with the `ws` library. */
  async connect(path, { subprotocols = [], ...options } = {}) {
    const tunnel = new Tunnel(this.origin + path, subprotocols, { ca: this.longhaul.certificate, ...options });
    await tunnel.opened;
    return tunnel;
  }

  /** The answer to a handshake that must fail: `{ status, fields, body }`. */
  async refused(path, options = {}) {
    const socket = new WebSocket(this.origin + path, { ca: this.longhaul.certificate, ...options });
    const { promise, resolve, reject } = pledge();
    socket.on("open", () => reject(new Error(`${path} was not refused`)));
    socket.on("error", reject);
    socket.on("unexpected-response", async (_, response) => {
      const body = Buffer.concat(await response.toArray()).toString();
      resolve({ status: response.statusCode, fields: response.headers, body });
    });
    return promise;
  }

  /** GETs a path and returns the response, its body not read yet. */
  async get(path) {
    const { promise, resolve, reject } = pledge();
    (this.secure ? https : http).get(this.site + path, { ca: this.longhaul.certificate }, resolve).on("error", reject);
    return promise;
  }

  /** The close code and reason that the backend saw; the tunnel may have been on either of them. */
  async ending() {
    return this.street.endings.next();
  }

  async isQuiet() {
    await this.street.isQuiet();
  }

  async recover() {
    await leave();
    this.street.clear();
  }

  describe() {
    this.longhaul.process.describe();
  }
}

/** The clients of all talks leave. */
async function leave() {
  await globalThis.socketio?.leave();
  await globalThis.phoenix?.leave();
}

/** The function of this name, such as `socketio.talk`. */
function find(name) {
  return name.split(".").reduce((place, word) => place[word], globalThis);
}

/** A client's end of a tunnel whose messages wait until somebody asks for them. */
export class Tunnel {
  constructor(...words) {
    this.socket = new WebSocket(...words);
    this.messages = [];
    this.waiting = [];
    const opened = pledge();
    this.opened = opened.promise;
    this.socket.on("upgrade", (response) => (this.response = response));
    this.socket.on("open", opened.resolve);
    this.socket.on("error", opened.reject);
    this.closed = new Promise((resolve) => {
      this.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.closed.then(({ code }) => this.waiting.forEach(({ reject }) => reject(new Error(`closed with ${code}`))));
    this.socket.on("message", (data, isBinary) => {
      const message = isBinary ? data : data.toString();
      const next = this.waiting.shift();
      if (next) next.resolve(message);
      else this.messages.push(message);
    });
  }

  /** The next message: a string, or a Buffer for a binary one. */
  async next() {
    if (this.messages.length > 0) return this.messages.shift();
    const waiting = pledge();
    this.waiting.push(waiting);
    return waiting.promise;
  }

  async close(code, reason) {
    this.socket.close(code, reason);
    return this.closed;
  }
}
