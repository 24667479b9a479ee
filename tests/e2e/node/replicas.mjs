// Three servers of socket.io that know nothing of each other, and a longhaul in front of them.

import http from "node:http";
import https from "node:https";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { Longhaul } from "./proxy.mjs";

/** The routes of `replicas.toml`, each of which leads to all servers. */
const ROUTES = ["cookie", "client", "turn"];

class Replica {
  static async start(name) {
    const one = new Replica();
    one.server = http.createServer((_, response) => response.writeHead(404).end());
    one.doors = ROUTES.map((route) => new Server(one.server, { path: `/${route}/socket.io/` }));
    for (const door of one.doors) {
      door.on("connection", (visit) => visit.on("who", (tell) => tell(name)));
    }
    await new Promise((resolve) => one.server.listen(0, "127.0.0.1", 1024, resolve));
    return one;
  }

  /** Ends the sessions whose clients were lost: their polls wait for pings that come too late. */
  forget() {
    for (const { engine } of this.doors) {
      for (const session of Object.values(engine.clients)) session.close(true);
    }
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

export class Replicas {
  static async start() {
    const one = new Replicas();
    one.replicas = await Promise.all(["one", "two", "three"].map((name) => Replica.start(name)));
    const ports = one.replicas.map(({ server }, index) => [`replica-${index + 1}`, server.address().port]);
    one.longhaul = await Longhaul.start(Object.fromEntries(ports), "replicas.toml");
    return one;
  }

  /** What tests get, entered through this listener. */
  house(name) {
    return new ReplicasHouse(name, this);
  }

  async stop() {
    await this.longhaul.stop();
    for (const replica of this.replicas) replica.stop();
  }
}

class ReplicasHouse {
  #clients = [];

  constructor(name, street) {
    Object.assign(this, { name, street, longhaul: street.longhaul });
    this.secure = name === "secure";
    this.site = `${this.secure ? "https" : "http"}://localhost:${this.longhaul.port(name)}`;
  }

  /** What makes a client come from an address of its own. */
  from(localAddress) {
    return { agent: new (this.secure ? https : http).Agent({ localAddress, family: 4 }) };
  }

  /**
   * A client of a route that polls, goes on by WebSocket if it may, and asks who answers all the while; the names that it
   * was told, each once. Fails when a server does not know its session.
   */
  async visit(route, { transports = ["polling", "websocket"], ...options }) {
    const path = `/${route}/socket.io/`;
    const client = io(this.site, { path, transports, forceNew: true, reconnection: false, ...options });
    this.#clients.push(client);
    const lost = new Promise((_, reject) => {
      for (const end of ["connect_error", "disconnect"]) client.once(end, (why) => reject(new Error(`${end}: ${why}`)));
      client.io.engine.once("upgradeError", (why) => reject(new Error(`upgrade: ${why}`)));
    });
    // It is lost at the end of the test, too, when nobody asks any more.
    lost.catch(() => {});
    const upgraded = new Promise((resolve) => client.io.engine.once("upgrade", resolve));
    const told = async () => {
      await new Promise((resolve) => client.once("connect", resolve));
      const names = new Set();
      const ask = async () => names.add(await client.emitWithAck("who"));
      for (let count = 0; count < 5; count += 1) await ask();
      if (transports.length > 1) await upgraded;
      for (let count = 0; count < 5; count += 1) await ask();
      return [...names];
    };
    return Promise.race([told(), lost]);
  }

  async isQuiet() {
    await this.recover();
    await this.longhaul.metricBecomes(0, "longhaul_tunnels_active");
    await this.longhaul.metricBecomes(0, "longhaul_backend_tunnels");
  }

  async recover() {
    for (const client of this.#clients.splice(0)) client.disconnect();
    for (const replica of this.street.replicas) replica.forget();
  }

  describe() {
    this.longhaul.process.describe();
  }
}
