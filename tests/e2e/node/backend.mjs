// An HTTP server that serves WebSocket with the `ws` library; the path says what it does.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { pledge } from "./runner.mjs";

const SUBPROTOCOLS = ["chat.v2", "chat.v1"];

export class Backend {
  /** The queue `endings` gets the close code and reason that the backend saw, for each tunnel that has ended. */
  static async start(endings) {
    const one = new Backend();
    one.served = 0;
    one.ended = 0;
    one.endings = endings;
    one.#hold();
    one.server = createServer((_, response) => response.writeHead(404).end());
    const sockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: { threshold: 0 },
      handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
    });
    sockets.on("headers", (lines) => lines.push("X-Backend: node", "Set-Cookie: seat=12", "Set-Cookie: row=4"));
    one.server.on("upgrade", (request, socket, head) => {
      if (request.url.endsWith("/refuse")) {
        const body = "not you\n";
        socket.end(`HTTP/1.1 403 Forbidden\r\nX-Why: the bouncer\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
        return;
      }
      sockets.handleUpgrade(request, socket, head, (tunnel) => one.#serve(tunnel, request));
    });
    await new Promise((resolve) => one.server.listen(0, "127.0.0.1", 1024, resolve));
    one.port = one.server.address().port;
    return one;
  }

  /** After every test: no tunnel is left. */
  async isQuiet() {
    while (this.served !== this.ended) await new Promise((resolve) => setTimeout(resolve, 10));
    this.#hold();
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  /** From now on `held` tunnels are read only when somebody has called `release`. */
  #hold() {
    const released = pledge();
    this.released = released.promise;
    this.release = released.resolve;
  }

  #serve(tunnel, request) {
    this.served += 1;
    const url = new URL(request.url, "http://backend");
    tunnel.on("error", () => {});
    tunnel.on("close", (code, reason) => {
      this.ended += 1;
      this.endings.push({ code, reason: reason.toString() });
    });
    const held = () => {
      tunnel.pause();
      this.released.then(() => tunnel.resume());
      echo(tunnel);
    };
    const acts = { echo, held, request: tellRequest, ping, close, greet, fragments };
    acts[url.pathname.split("/").at(-1)](tunnel, url.searchParams, request);
  }
}

function echo(tunnel) {
  tunnel.on("message", (data, isBinary) => {
    tunnel.send(data, { binary: isBinary }, () => {
      if (tunnel.bufferedAmount < 1 << 20) tunnel.resume();
    });
    if (tunnel.bufferedAmount >= 1 << 20) tunnel.pause();
  });
}

function tellRequest(tunnel, _, request) {
  tunnel.send(JSON.stringify({ target: request.url, fields: request.headers }));
}

function ping(tunnel) {
  tunnel.on("pong", (data) => tunnel.send(`pong ${data}`));
  tunnel.ping("from the backend");
}

function close(tunnel, query) {
  if (query.has("abort")) tunnel.terminate();
  else if (query.has("code")) tunnel.close(Number(query.get("code")), query.get("reason"));
  else tunnel.close();
}

function greet(tunnel, query) {
  for (let number = 0; number < Number(query.get("count")); number += 1) tunnel.send(`greeting ${number}`);
}

function fragments(tunnel) {
  tunnel.send("one ", { fin: false });
  tunnel.ping("between");
  tunnel.send("two ", { fin: false });
  tunnel.send("three", { fin: true });
}
