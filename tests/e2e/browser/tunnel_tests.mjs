// Chromium's tunnels by every version of HTTP, to a backend that speaks HTTP/1.1.

import assert from "node:assert/strict";

export const tunnelTests = {
  async "page and tunnel come by the version that the listener offers"(lane) {
    await lane.visit(async (page) => {
      await page.evaluate(async () => {
        globalThis.socket = await e2e.connect("/ws/echo", "chat.v1");
      });
      const [tunnel, ...others] = await lane.longhaul.tunnels();
      assert.deepEqual([tunnel.http, tunnel.route, tunnel.subprotocol], [lane.versions.tunnel, "chat", "chat.v1"]);
      assert.deepEqual(others, []);
      // The browser says it, too: a tunnel over HTTP/2 begins with 200 (RFC 8441 5), one over HTTP/1.1 with 101.
      assert.equal((await page.answer("/web/page")).protocol, { "1.1": "http/1.1", 2: "h2" }[lane.versions.page]);
      assert.equal((await page.answer("/ws/echo")).status, { "1.1": 101, 2: 200 }[lane.versions.tunnel]);
    });
  },

  async "the backend gets a handshake of HTTP/1.1"(lane) {
    await lane.visit(async (page) => {
      const [first, second] = await page.evaluate(async () => {
        const ask = async () => JSON.parse(await (await e2e.connect("/ws/request?room=7")).next());
        return [await ask(), await ask()];
      });
      assert.equal(first.target, "/ws/request?room=7");
      const { fields } = first;
      assert.equal(fields.host, new URL(lane.site).host);
      assert.equal(fields.origin, lane.site);
      assert.equal(fields.cookie, "seat=12; row=4");
      assert.deepEqual([fields.upgrade, fields["sec-websocket-version"]], ["websocket", "13"]);
      assert.match(fields["sec-websocket-key"], /^[A-Za-z0-9+/]{22}==$/);
      assert.notEqual(fields["sec-websocket-key"], second.fields["sec-websocket-key"]);
      assert.match(fields["sec-websocket-extensions"], /permessage-deflate/);
      assert.equal(fields["x-forwarded-proto"], new URL(lane.site).protocol.slice(0, -1));
    });
  },

  async "messages of every size come back"(lane) {
    await lane.visit(async (page) => {
      const { texts, sent, back } = await page.evaluate(async () => {
        const socket = await e2e.connect("/ws/echo");
        const sizes = [0, 1, 125, 126, 16_383, 16_384, 65_535, 65_536, 3_000_000];
        const texts = [];
        for (const size of sizes) {
          const text = "ä€世x".repeat(Math.ceil(size / 4)).slice(0, size);
          socket.send(text);
          texts.push(text === (await socket.next()));
        }
        const blocks = sizes.map((size) => e2e.noise(size));
        // All at once: sending and receiving have to go on beside each other.
        blocks.forEach((block) => socket.send(block));
        const [sent, back] = [[], []];
        for (const block of blocks) {
          sent.push(await e2e.digest(block));
          back.push(await e2e.digest(await socket.next()));
        }
        return { texts, sent, back };
      });
      assert.deepEqual(texts, Array(9).fill(true));
      assert.deepEqual(back, sent);
    });
  },

  async "two thousand messages keep their order"(lane) {
    await lane.visit(async (page) => {
      const back = await page.evaluate(async () => {
        const socket = await e2e.connect("/ws/echo");
        for (let number = 0; number < 2000; number += 1) socket.send(number % 3 ? `${number}` : "");
        const back = [];
        while (back.length < 2000) back.push(await socket.next());
        return back;
      });
      assert.deepEqual(back, Array.from({ length: 2000 }, (_, number) => (number % 3 ? `${number}` : "")));
    });
  },

  async "the backend chooses the subprotocol"(lane) {
    await lane.visit(async (page) => {
      for (const [offered, chosen] of [[["chat.v1", "chat.v2"], "chat.v2"], [["other", "chat.v1"], "chat.v1"], [[], ""]]) {
        const protocol = async (words) => (await e2e.connect("/ws/echo", ...words)).protocol;
        assert.equal(await page.evaluate(protocol, offered), chosen);
      }
    });
  },

  async "close codes and reasons go both ways"(lane) {
    await lane.visit(async (page) => {
      const none = { code: 1005, reason: "" };
      for (const ending of [{ code: 1000, reason: "" }, { code: 4999, reason: `ü${"r".repeat(121)}` }, none]) {
        const seen = await page.evaluate(async ({ code, reason }) => {
          const socket = await e2e.connect("/ws/echo");
          if (code === 1005) socket.close();
          else socket.close(code, reason);
          return socket.closed;
        }, ending);
        assert.deepEqual(seen, { ...ending, wasClean: true });
        assert.deepEqual(await lane.street.endings.next(), ending);
      }
      for (const ending of [{ code: 1011, reason: "broken" }, { code: 4002, reason: "enough" }, none]) {
        const query = ending.code === 1005 ? "" : `?code=${ending.code}&reason=${ending.reason}`;
        const seen = await page.evaluate(async (words) => (await e2e.connect(`/ws/close${words}`)).closed, query);
        assert.deepEqual(seen, { ...ending, wasClean: true });
        assert.equal((await lane.street.endings.next()).code, ending.code);
      }
    });
  },

  async "a browser answers longhaul's own pings, and its page does not notice"(lane) {
    await lane.visit(async (page) => {
      await page.evaluate(async () => {
        globalThis.socket = await e2e.connect("/ws/pinged/echo");
      });
      const name = "longhaul_ping_round_trip_seconds_count";
      const before = await lane.longhaul.metric(name, { route: "pinged", side: "client" });
      while ((await lane.longhaul.metric(name, { route: "pinged", side: "client" })) < before + 5);
      const [row] = (await lane.longhaul.tunnels()).filter(({ route }) => route === "pinged");
      assert.deepEqual([row.to_backend.pongs, row.to_client.pings], [0, 0]);
      const back = await page.evaluate(async () => {
        socket.send("still here");
        return socket.next();
      });
      assert.equal(back, "still here");
    });
  },

  async "who vanishes is missed by the other"(lane) {
    await lane.visit(async (page) => {
      const seen = await page.evaluate(async () => (await e2e.connect("/ws/close?abort=1")).closed);
      assert.deepEqual([seen.code, seen.wasClean], [1011, true]);
      await lane.street.endings.next();
      await page.evaluate(async () => {
        globalThis.socket = await e2e.connect("/ws/echo");
      });
    });
    // The page is gone, and with it the tunnel; a browser says 1001, or nothing more, and then longhaul does.
    assert.ok([1001, 1011].includes((await lane.street.endings.next()).code));
  },

  async "a refusal leaves the connection to others"(lane) {
    await lane.visit(async (page) => {
      const before = await lane.connections();
      const told = await page.evaluate(async () => {
        const refused = [];
        for (const path of ["/ws/refuse", "/dead/end", "/nowhere"]) {
          refused.push(await e2e.connect(path).then(() => "open", () => "refused"));
        }
        const socket = await e2e.connect("/ws/echo");
        socket.send("still here");
        return [...refused, await socket.next()];
      });
      assert.deepEqual(told, ["refused", "refused", "refused", "still here"]);
      if (lane.versions.tunnel === "2") assert.equal(await lane.connections(), before);
    });
  },

  async "fifty tunnels are open at once"(lane) {
    await lane.visit(async (page) => {
      const before = await lane.connections();
      const back = await page.evaluate(async () => {
        globalThis.sockets = [];
        // Ten at a time: Chromium makes a page wait for seconds that opens more.
        while (sockets.length < 50) {
          sockets.push(...await Promise.all(Array.from({ length: 10 }, () => e2e.connect("/ws/echo"))));
        }
        return Promise.all(sockets.map((socket, number) => {
          socket.send(`number ${number}`);
          return socket.next();
        }));
      });
      assert.deepEqual(back, Array.from({ length: 50 }, (_, number) => `number ${number}`));
      const tunnels = await lane.longhaul.tunnels();
      assert.deepEqual(tunnels.map(({ http }) => http), Array(50).fill(lane.versions.tunnel));
      const opened = (await lane.connections()) - before;
      // By HTTP/2 they share the page's connection. Otherwise Chromium may have opened more than it took.
      assert.ok(lane.versions.tunnel === "2" ? opened === 0 : opened >= 50, `${opened} connections`);
    });
  },

};

/** Where tunnels and requests share a connection. */
export const sharingTests = {
  async "a tunnel that its backend does not read stops no other"(lane) {
    await lane.visit(async (page) => {
      const unsent = await page.evaluate(async () => {
        globalThis.held = await e2e.connect("/ws/held");
        globalThis.block = e2e.noise(16 << 20);
        held.send(block);
        const socket = await e2e.connect("/ws/echo");
        for (let number = 0; number < 100; number += 1) {
          socket.send(e2e.noise(10_000));
          await socket.next();
        }
        return held.bufferedAmount;
      });
      assert.ok(unsent > 0, "somebody keeps 16 MiB for a backend that does not read");
      for (const backend of lane.street.backends) backend.release();
      const same = await page.evaluate(async () => {
        return (await e2e.digest(await held.next())) === (await e2e.digest(block));
      });
      assert.ok(same);
    });
  },

  // h2 ends a connection at its 101st DATA frame that is empty and does not end its stream.
  async "what Chromium does over and over is no flood"(lane) {
    await lane.visit(async (page) => {
      const before = [await lane.connections(), await lane.faults()];
      const told = await page.evaluate(async () => {
        const socket = await e2e.connect("/ws/echo");
        for (let turn = 0; turn < 300; turn += 1) {
          socket.send("");
          socket.send(new Uint8Array(0));
        }
        let empty = 0;
        for (let count = 0; count < 600; count += 1) {
          const data = await socket.next();
          if (data === "" || data.byteLength === 0) empty += 1;
        }
        const codes = {};
        for (let turn = 0; turn < 150; turn += 1) {
          const { closed } = await e2e.connect(turn % 2 ? "/ws/close" : "/ws/echo").then((one) => {
            if (turn % 2 === 0) one.close(1000);
            return one;
          });
          const { code } = await closed;
          codes[code] = (codes[code] ?? 0) + 1;
        }
        const lengths = {};
        for (let turn = 0; turn < 150; turn += 1) {
          const post = await fetch("/web/post", { method: "POST", body: turn % 2 ? "" : "ten bytes." });
          const { length } = await post.json();
          lengths[length] = (lengths[length] ?? 0) + 1;
        }
        return { empty, codes, lengths };
      });
      assert.deepEqual(told, { empty: 600, codes: { 1000: 75, 1005: 75 }, lengths: { 0: 75, 10: 75 } });
      assert.deepEqual([await lane.connections(), await lane.faults()], before);
      assert.equal(await lane.faults("data_flood"), 0);
    });
  },

  async "a body that a page streams, empty chunks among them, arrives"(lane) {
    await lane.visit(async (page) => {
      const before = [await lane.connections(), await lane.faults()];
      const length = await page.evaluate(async () => {
        let chunks = 0;
        const body = new ReadableStream({
          pull(controller) {
            chunks += 1;
            if (chunks > 400) controller.close();
            else controller.enqueue(new Uint8Array(chunks % 2));
          },
        });
        return (await (await fetch("/web/post", { method: "POST", body, duplex: "half" })).json()).length;
      });
      assert.equal(length, 200);
      assert.deepEqual([await lane.connections(), await lane.faults()], before);
    });
  },
};
