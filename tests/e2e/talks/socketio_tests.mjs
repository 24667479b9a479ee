// socket.io: polling first, then WebSocket, or one of them alone, to one backend.

import assert from "node:assert/strict";

const NUMBERS = Array.from({ length: 200 }, (_, index) => index);

/** Holds that so many tunnels are opened, and at least so many requests answered. */
async function counted(house, { tunnels, requests }, use) {
  const count = async () => [
    await house.longhaul.metric("longhaul_tunnels_opened_total", { route: "web" }),
    await house.longhaul.metric("longhaul_requests_total", { route: "web", result: "2xx" }),
  ];
  const before = await count();
  await use();
  const after = await count();
  assert.equal(after[0] - before[0], tunnels);
  assert.ok(after[1] - before[1] >= requests, `${after[1] - before[1]} requests`);
}

export const socketioTests = {
  async "socket.io begins by polling, goes on by WebSocket, and loses nothing on the way"(house) {
    await house.guest(async (page) => {
      await counted(house, { tunnels: 1, requests: 3 }, async () => {
        const names = ["polling", "websocket"];
        const told = await page.call("socketio.talk", house.site, names, NUMBERS);
        assert.deepEqual(told, { names, acknowledged: NUMBERS, echoed: NUMBERS });
        const visit = await house.street.web.socketio.visits.next();
        assert.equal(visit.conn.transport.name, "websocket");
        const [tunnel, ...others] = await house.longhaul.tunnels();
        assert.deepEqual([tunnel.http, tunnel.route, others], [house.versions.tunnel, "web", []]);
      });
    });
  },

  async "socket.io by polling alone, or by WebSocket alone"(house) {
    await house.guest(async (page) => {
      for (const [name, counts] of [["polling", { tunnels: 0, requests: 4 }], ["websocket", { tunnels: 1, requests: 0 }]]) {
        await counted(house, counts, async () => {
          const told = await page.call("socketio.talk", house.site, [name], NUMBERS);
          assert.deepEqual(told, { names: [name], acknowledged: NUMBERS, echoed: NUMBERS });
        });
      }
    });
  },

  async "socket.io carries texts and bytes of every size"(house) {
    await house.guest(async (page) => {
      for (const name of ["polling", "websocket"]) {
        // Not 0: over HTTP/2 Chromium 156 itself keeps an empty message that it was given right after another until
        // it is given a third, before whatever server.
        const sizes = [4, 1000, 70_000, 400_000];
        assert.deepEqual(await page.call("socketio.exchange", house.site, [name], sizes), Array(8).fill(true));
      }
    });
  },

  async "a room of socket.io hears what one of them says, by whatever transport"(house) {
    await house.guest(async (page) => {
      const heard = await page.call("socketio.gather", house.site);
      assert.deepEqual(heard, ["dinner", "dinner", "dinner", "nobody there"]);
    });
  },

  async "a poll that is held is answered when the server speaks, and not before"(house) {
    await house.guest(async (page) => {
      await page.call("socketio.open", house.site, ["polling"]);
      const visit = await house.street.web.socketio.visits.next();
      for (const word of ["one", "two", "three"]) {
        // A poll waits again: the server can write at once.
        while (!visit.conn.transport.writable) await new Promise((resolve) => visit.conn.transport.once("ready", resolve));
        visit.emit("said", word);
        assert.equal(await page.call("socketio.hear"), word);
      }
      visit.disconnect(true);
      assert.equal(await page.call("socketio.disconnected"), "io server disconnect");
    });
  },

  async "the backend learns at once that a client of socket.io has gone"(house) {
    const reasons = [];
    for (const name of ["polling", "websocket"]) {
      let visit;
      await house.guest(async (page) => {
        await page.call("socketio.open", house.site, [name]);
        visit = await house.street.web.socketio.visits.next();
      });
      reasons.push(await visit.left);
    }
    // Not `ping timeout`, after three quarters of a minute.
    for (const reason of reasons) assert.match(reason, /^(transport (close|error)|client namespace disconnect)$/);
  },
};
