// Phoenix's channels by long polling, as far as tests need them: the shape of its longpoll transport and of the messages
// of version 2.0.0. The status that counts is in the answer's body.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { pledge, Queue } from "./runner.mjs";

/** How long a poll is held when there is nothing to say; with Phoenix it is ten seconds. */
const POLL_MS = 400;

export class Phoenix {
  constructor() {
    this.byToken = new Map();
    /** Sessions in the order in which they began. */
    this.sessions = new Queue();
  }

  async answer(request, response) {
    const token = new URL(request.url, "http://phoenix").searchParams.get("token");
    const session = this.byToken.get(token);
    if (request.method === "POST") {
      if (session) await session.take(request);
      send(response, session ? { status: 200 } : { status: 410 });
    } else if (session) {
      session.hold(response);
    } else {
      send(response, { status: 410, token: this.#begin().token, messages: [] });
    }
  }

  /** Ends a session as a restart of the server would. */
  forget(session) {
    this.byToken.delete(session.token);
    session.reply(410);
  }

  /** After every test: nobody polls. */
  async isQuiet() {
    for (const session of this.byToken.values()) await session.released();
    this.byToken.clear();
  }

  #begin() {
    const session = new Session();
    this.byToken.set(session.token, session);
    this.sessions.push(session);
    return session;
  }
}

/** What a client comes back to with every request. */
class Session {
  constructor() {
    this.token = randomUUID();
    /** How many polls were answered, by status. */
    this.rounds = { 200: 0, 204: 0, 410: 0 };
    /** How many messages came with each POST. */
    this.batches = [];
    this.messages = [];
    this.poll = null;
    this.waiting = new Queue();
    const left = pledge();
    /** Resolves when the client leaves while its poll is held. */
    this.left = left.promise;
    this.leave = left.resolve;
  }

  /** Says a word to all who have joined. */
  say(topic, event, payload) {
    this.#push([null, null, topic, event, payload]);
  }

  /** Waits until a poll is held, now or later. */
  async held() {
    while (!this.poll) await this.waiting.next();
  }

  /** Waits until no poll is held. */
  async released() {
    while (this.poll) await once(this.poll, "close");
  }

  hold(response) {
    this.poll = response;
    const timer = setTimeout(() => this.reply(204), POLL_MS);
    response.on("close", () => {
      clearTimeout(timer);
      if (this.poll !== response) return;
      this.poll = null;
      this.leave();
    });
    this.waiting.push();
    if (this.messages.length > 0) this.reply(200);
  }

  /** Answers the poll, if one is held. */
  reply(status) {
    const response = this.poll;
    if (!response) return;
    this.poll = null;
    this.rounds[status] += 1;
    send(response, { status, token: this.token, messages: this.messages.splice(0) });
  }

  async take(request) {
    const lines = Buffer.concat(await request.toArray()).toString().split("\n");
    this.batches.push(lines.length);
    for (const line of lines) {
      const [join, reference, topic, event, payload] = JSON.parse(line);
      const response = event === "echo" ? payload : {};
      this.#push([join, reference, topic, "phx_reply", { status: "ok", response }]);
    }
  }

  #push(message) {
    this.messages.push(JSON.stringify(message));
    this.reply(200);
  }
}

function send(response, value) {
  response.writeHead(200, { "Content-Type": "application/json; charset=utf-8" }).end(JSON.stringify(value));
}
