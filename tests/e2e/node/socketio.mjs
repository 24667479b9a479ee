// A server of socket.io, on the HTTP server that it is given.

import { Server } from "socket.io";
import { Queue } from "./runner.mjs";

export class SocketIo {
  constructor(server) {
    /** The server's ends of the clients' connections, in the order in which they came. */
    this.visits = new Queue();
    this.server = new Server(server, { path: "/web/socket.io/" });
    this.server.on("connection", (visit) => this.#serve(visit));
  }

  /** After every test: all clients have gone. */
  async isQuiet() {
    while (this.server.engine.clientsCount > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  #serve(visit) {
    /** Why the client is gone. */
    visit.left = new Promise((resolve) => visit.on("disconnect", resolve));
    visit.on("echo", (value, acknowledge) => {
      visit.emit("echoed", value);
      acknowledge(value);
    });
    visit.on("join", (room, acknowledge) => {
      visit.join(room);
      acknowledge();
    });
    visit.on("say", (room, text) => this.server.to(room).emit("said", text));
    this.visits.push(visit);
  }
}
