// WebSocket through longhaul, with the `ws` library at both ends, and the client that Node.js has built in.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWebSocketStream } from "ws";
import { pledge } from "./runner.mjs";

const MEBIBYTE = 1 << 20;

export const tests = {
  async "text comes back"(house) {
    const tunnel = await house.connect("/ws/echo");
    for (const message of ["hello", "", "grüß dich, 世界 🌍"]) {
      tunnel.socket.send(message);
      assert.equal(await tunnel.next(), message);
    }
    await tunnel.close();
  },

  async "binary comes back"(house) {
    const tunnel = await house.connect("/ws/echo");
    for (const message of [Buffer.alloc(0), Buffer.from([0, 127, 128, 255]), randomBytes(70_000)]) {
      tunnel.socket.send(message);
      assert.deepEqual(await tunnel.next(), message);
    }
    await tunnel.close();
  },

  async "a mebibyte comes back as text and as binary"(house) {
    for (const perMessageDeflate of [false, true]) {
      const tunnel = await house.connect("/ws/echo", { perMessageDeflate });
      for (const message of [randomBytes(MEBIBYTE), "ä".repeat(MEBIBYTE / 2)]) {
        tunnel.socket.send(message);
        assert.deepEqual(await tunnel.next(), message);
      }
      await tunnel.close();
    }
  },

  async "longhaul's own pings are answered, and their answers do not pass"(house) {
    const tunnel = await house.connect("/ws/pinged/echo");
    let [pings, pongs] = [0, 0];
    tunnel.socket.on("ping", () => (pings += 1)).on("pong", () => (pongs += 1));
    while (pings < 5) await once(tunnel.socket, "ping");
    const [row] = (await house.longhaul.tunnels()).filter(({ route }) => route === "pinged");
    assert.ok(row.client_round_trip_ms > 0 && row.backend_round_trip_ms > 0, JSON.stringify(row));
    assert.deepEqual([row.to_backend.pongs, row.to_client.pongs, row.to_client.pings], [0, 0, 0]);
    assert.equal(pongs, 0);
    tunnel.socket.send("still here");
    assert.equal(await tunnel.next(), "still here");
    await tunnel.close();
  },

  async "fragments with a ping between them make one message"(house) {
    for (const perMessageDeflate of [false, true]) {
      const tunnel = await house.connect("/ws/echo", { perMessageDeflate });
      tunnel.socket.send("one ", { fin: false });
      tunnel.socket.ping("between");
      await once(tunnel.socket, "pong");
      tunnel.socket.send("two ", { fin: false });
      tunnel.socket.send("three", { fin: true });
      assert.equal(await tunnel.next(), "one two three");
      await tunnel.close();
    }
  },

  async "a fragmented message comes from the backend"(house) {
    const tunnel = await house.connect("/ws/fragments");
    assert.equal(await tunnel.next(), "one two three");
    await tunnel.close();
  },

  async "the backend's first words are not lost"(house) {
    const tunnel = await house.connect("/ws/greet?count=50");
    for (let number = 0; number < 50; number += 1) assert.equal(await tunnel.next(), `greeting ${number}`);
    await tunnel.close();
  },

  async "pings are answered both ways"(house) {
    const client = await house.connect("/ws/echo");
    client.socket.ping("how far is it");
    const [payload] = await once(client.socket, "pong");
    assert.equal(payload.toString(), "how far is it");
    await client.close();
    const server = await house.connect("/ws/ping");
    assert.equal(await server.next(), "pong from the backend");
    await server.close();
  },

  async "the client's close code and reason reach the backend"(house) {
    for (const ending of [
      { code: 1000, reason: "" },
      { code: 4001, reason: "bye, grüß dich" },
      { code: 4999, reason: "r".repeat(123) },
    ]) {
      const tunnel = await house.connect("/ws/echo");
      assert.equal((await tunnel.close(ending.code, ending.reason)).code, ending.code);
      assert.deepEqual(await house.ending(), ending);
    }
  },

  async "the backend's close code and reason reach the client"(house) {
    for (const ending of [
      { code: 1000, reason: "" },
      { code: 1011, reason: "broken" },
      { code: 4002, reason: "r".repeat(123) },
    ]) {
      const tunnel = await house.connect(`/ws/close?code=${ending.code}&reason=${ending.reason}`);
      assert.deepEqual(await tunnel.closed, ending);
      assert.equal((await house.ending()).code, ending.code);
    }
  },

  async "a close without a code stays without a code"(house) {
    const client = await house.connect("/ws/echo");
    await client.close();
    assert.deepEqual(await house.ending(), { code: 1005, reason: "" });
    const server = await house.connect("/ws/close");
    assert.deepEqual(await server.closed, { code: 1005, reason: "" });
  },

  async "an end that vanishes is told to the other"(house) {
    const client = await house.connect("/ws/echo");
    client.socket.terminate();
    // longhaul tells it by a Close of its own.
    assert.equal((await house.ending()).code, 1011);
    const server = await house.connect("/ws/close?abort=1");
    assert.equal((await server.closed).code, 1011);
  },

  async "the backend chooses the subprotocol"(house) {
    for (const [subprotocols, chosen] of [[["chat.v1", "chat.v2"], "chat.v2"], [["other", "chat.v1"], "chat.v1"], [[], ""]]) {
      const tunnel = await house.connect("/ws/echo", { subprotocols });
      assert.equal(tunnel.socket.protocol, chosen);
      await tunnel.close();
    }
  },

  async "compression is between client and backend"(house) {
    const tunnel = await house.connect("/ws/echo", { perMessageDeflate: { threshold: 0 } });
    assert.match(tunnel.socket.extensions, /permessage-deflate/);
    for (const message of ["longhaul ".repeat(50_000), "short", Buffer.alloc(MEBIBYTE)]) {
      tunnel.socket.send(message);
      assert.deepEqual(await tunnel.next(), message);
    }
    await tunnel.close();
    const bare = await house.connect("/ws/echo", { perMessageDeflate: false });
    assert.equal(bare.socket.extensions, "");
    await bare.close();
  },

  async "the handshake's fields pass both ways"(house) {
    const headers = { Authorization: "Bearer seat-12", Cookie: "a=1; b=2", "X-Trace": "one" };
    const tunnel = await house.connect("/ws/request?room=7&x=%2F", { headers, origin: "https://chat.example.com" });
    const { target, fields } = JSON.parse(await tunnel.next());
    assert.equal(target, "/ws/request?room=7&x=%2F");
    assert.equal(fields.host, house.authority);
    assert.equal(fields.authorization, "Bearer seat-12");
    assert.equal(fields.cookie, "a=1; b=2");
    assert.equal(fields["x-trace"], "one");
    assert.equal(fields.origin, "https://chat.example.com");
    assert.match(fields["x-forwarded-for"], /^(127\.0\.0\.1|::1)$/);
    assert.equal(fields["x-forwarded-proto"], house.secure ? "https" : "http");
    assert.equal(tunnel.response.headers["x-backend"], "node");
    assert.deepEqual(tunnel.response.headers["set-cookie"], ["seat=12", "row=4"]);
    await tunnel.close();
  },

  async "the backend's refusal reaches the client whole"(house) {
    const { status, fields, body } = await house.refused("/ws/refuse");
    assert.deepEqual([status, fields["x-why"], body], [403, "the bouncer", "not you\n"]);
  },

  async "longhaul refuses with a fitting status"(house) {
    assert.equal((await house.refused("/nowhere")).status, 404);
    assert.equal((await house.refused("/dead/end")).status, 502);
    assert.equal((await house.refused("/guarded/echo", { origin: "https://evil.example.com" })).status, 403);
    const tunnel = await house.connect("/guarded/echo", { origin: "https://chat.example.com" });
    await tunnel.close();
  },

  async "sixty-four mebibytes pass through a stream that obeys back pressure"(house) {
    const tunnel = await house.connect("/ws/echo", { perMessageDeflate: false });
    tunnel.socket.removeAllListeners("message");
    const stream = createWebSocketStream(tunnel.socket);
    const block = randomBytes(MEBIBYTE);
    const sending = (async () => {
      for (let count = 0; count < 64; count += 1) {
        if (!stream.write(block)) await once(stream, "drain");
      }
    })();
    let received = 0;
    for await (const data of stream) {
      for (let start = 0; start < data.length; ) {
        const offset = (received + start) % MEBIBYTE;
        const length = Math.min(data.length - start, MEBIBYTE - offset);
        assert.equal(data.compare(block, offset, offset + length, start, start + length), 0);
        start += length;
      }
      received += data.length;
      if (received === 64 * MEBIBYTE) break;
    }
    await sending;
    await tunnel.closed;
  },

  async "two hundred clients at once share the backends"(house) {
    const labels = { route: "chat" };
    const opened = await house.longhaul.metric("longhaul_tunnels_opened_total", labels);
    const before = house.backends.map((backend) => backend.served);
    const tunnels = await Promise.all(Array.from({ length: 200 }, () => house.connect("/ws/echo")));
    await house.longhaul.metricBecomes(200, "longhaul_tunnels_active", labels);
    await Promise.all(tunnels.map(async (tunnel, number) => {
      for (let turn = 0; turn < 5; turn += 1) {
        tunnel.socket.send(`${number}.${turn}`);
        assert.equal(await tunnel.next(), `${number}.${turn}`);
      }
    }));
    await Promise.all(tunnels.map((tunnel) => tunnel.close(1000)));
    await house.longhaul.metricBecomes(0, "longhaul_tunnels_active", labels);
    assert.equal(await house.longhaul.metric("longhaul_tunnels_opened_total", labels), opened + 200);
    const shares = house.backends.map((backend, index) => backend.served - before[index]);
    assert.ok(Math.min(...shares) >= 50, `shares: ${shares}`);
  },

  async "the client built into Node.js talks, too"(house) {
    const socket = new globalThis.WebSocket(`${house.origin}/ws/echo`, ["chat.v1"]);
    socket.binaryType = "arraybuffer";
    const next = () => new Promise((resolve) => (socket.onmessage = ({ data }) => resolve(data)));
    const { promise: opened, resolve, reject } = pledge();
    socket.onopen = resolve;
    socket.onerror = (event) => reject(event.error ?? new Error("the handshake failed"));
    await opened;
    assert.equal(socket.protocol, "chat.v1");
    socket.send("grüß dich");
    assert.equal(await next(), "grüß dich");
    socket.send(new Uint8Array([1, 2, 255]));
    assert.deepEqual(new Uint8Array(await next()), new Uint8Array([1, 2, 255]));
    const closed = new Promise((done) => (socket.onclose = done));
    socket.close(4003, "done");
    const { code, reason, wasClean } = await closed;
    assert.deepEqual([code, reason, wasClean], [4003, "done", true]);
    assert.deepEqual(await house.ending(), { code: 4003, reason: "done" });
  },

  async "an event arrives before the next is sent"(house) {
    const response = await house.get("/web/events");
    assert.equal(response.headers["content-type"], "text/event-stream");
    response.setEncoding("utf8");
    const stream = await house.street.web.stream();
    const parts = response[Symbol.asyncIterator]();
    for (const data of ["first", "second"]) {
      stream.send(data);
      assert.equal((await parts.next()).value, `data: ${data}\n\n`);
    }
    stream.end();
    assert.ok((await parts.next()).done);
  },
};
