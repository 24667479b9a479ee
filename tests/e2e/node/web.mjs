// An HTTP server that gives pages and streams of events, and has socket.io and Phoenix' long polling. A test holds each
// stream in its hands.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Phoenix } from "./phoenix.mjs";
import { Queue } from "./runner.mjs";
import { SocketIo } from "./socketio.mjs";

const PHOENIX = new URL("phoenix.min.js", import.meta.resolve("phoenix"));
const PAGE = '<!doctype html><html lang="en"><title>longhaul</title><link rel="icon" href="data:,">';

export class Web {
  static async start() {
    const one = new Web();
    one.open = new Set();
    one.streams = new Queue();
    one.server = createServer((request, response) => one.#answer(request, response));
    one.phoenix = new Phoenix();
    one.socketio = new SocketIo(one.server);
    await new Promise((resolve) => one.server.listen(0, "127.0.0.1", 1024, resolve));
    one.port = one.server.address().port;
    return one;
  }

  /** The next stream of events that a client has opened. */
  async stream() {
    return this.streams.next();
  }

  /** After every test: clients have left all streams and polls, and socket.io. */
  async isQuiet() {
    for (const stream of this.open) await stream.left;
    await this.socketio.isQuiet();
    await this.phoenix.isQuiet();
  }

  /** Forgets what nobody has asked for. */
  clear() {
    for (const queue of [this.streams, this.socketio.visits, this.phoenix.sessions]) queue.clear();
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  async #answer(request, response) {
    const { pathname } = new URL(request.url, "http://web");
    const acts = {
      page: sendPage,
      post: tellLength,
      "phoenix.js": sendPhoenix,
      longpoll: (...both) => this.phoenix.answer(...both),
      events: (...both) => this.#stream(...both),
    };
    const act = acts[pathname.split("/").at(-1)];
    if (act) await act(request, response);
    else response.writeHead(404).end();
  }

  #stream(request, response) {
    const stream = new Stream(request, response);
    this.open.add(stream);
    stream.left.then(() => this.open.delete(stream));
    this.streams.push(stream);
  }
}

/** A response of events that has begun. */
class Stream {
  constructor(request, response) {
    this.lastEventId = request.headers["last-event-id"];
    this.response = response;
    /** Resolves when the response has ended, with true when it was the client who ended it. */
    this.left = new Promise((resolve) => response.on("close", () => resolve(!response.writableEnded)));
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.flushHeaders();
  }

  /** Sends an event; `fields` are such as `id` and `retry`. */
  send(data, fields = {}) {
    const lines = Object.entries({ ...fields, data }).map(([name, value]) => `${name}: ${value}\n`);
    this.response.write(`${lines.join("")}\n`);
  }

  end() {
    this.response.end();
  }

  /** Breaks off as a process that dies would. */
  abort() {
    this.response.destroy();
  }
}

function sendPage(_, response) {
  const cookies = ["seat=12; Path=/", "row=4; Path=/"];
  response.writeHead(200, { "Content-Type": "text/html", "Set-Cookie": cookies }).end(PAGE);
}

/** The client's library. */
function sendPhoenix(_, response) {
  response.writeHead(200, { "Content-Type": "text/javascript" }).end(readFileSync(PHOENIX));
}

async function tellLength(request, response) {
  let length = 0;
  for await (const part of request) length += part.length;
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ length }));
}
