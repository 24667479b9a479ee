// An HTTP server that serves WebSocket with the `ws` library; the path says what it does.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const SUBPROTOCOLS = ["chat.v2", "chat.v1"];

export class Backend {
  static async start() {
    const one = new Backend();
    one.served = 0;
    one.ended = 0;
    one.endings = [];
    one.waiting = [];
    one.server = createServer((request, response) => one.#answer(request, response));
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

  /** The close code and reason that this backend saw first and nobody has asked for yet. */
  async ending() {
    return this.endings.shift() ?? new Promise((resolve) => this.waiting.push(resolve));
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  #serve(tunnel, request) {
    this.served += 1;
    const url = new URL(request.url, "http://backend");
    tunnel.on("error", () => {});
    tunnel.on("close", (code, reason) => {
      this.ended += 1;
      const ending = { code, reason: reason.toString() };
      const next = this.waiting.shift();
      if (next) next(ending);
      else this.endings.push(ending);
    });
    const acts = { echo, request: tellRequest, ping, close, greet, fragments };
    acts[url.pathname.split("/").at(-1)](tunnel, url.searchParams, request);
  }

  #answer(request, response) {
    if (request.url !== "/web/events") {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write("data: first\n\n");
    this.release = () => response.end("data: second\n\n");
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
