// Sessions of socket.io among three servers: all that keeps one together is longhaul's configuration.

import assert from "node:assert/strict";

const GUESTS = Array.from({ length: 40 }, (_, index) => index);

/** Holds that each of the guests met one server, and all of them together every one. */
function eachMetOne(told) {
  for (const names of told) assert.equal(names.length, 1, `${names}`);
  assert.deepEqual([...new Set(told.flat())].sort(), ["one", "three", "two"]);
}

export const replicasTests = {
  async "a sticky cookie keeps polls and upgrade of a session of socket.io at one of three servers"(house) {
    eachMetOne(await Promise.all(GUESTS.map(() => house.visit("cookie", { withCredentials: true }))));
    eachMetOne(
      await Promise.all(GUESTS.map(() => house.visit("cookie", { withCredentials: true, transports: ["polling"] }))),
    );
  },

  async "a hash of the client's address does, too, and without a cookie"(house) {
    const visit = (index) => house.visit("client", house.from(`127.0.1.${index + 1}`));
    const first = await Promise.all(GUESTS.map(visit));
    eachMetOne(first);
    // Who comes again meets the same one.
    assert.deepEqual(await Promise.all(GUESTS.map(visit)), first);
  },

  async "without either a session is lost with its second request"(house) {
    for (const [route, options] of [
      ["turn", {}],
      ["turn", { withCredentials: true }],
      // A client that keeps no cookies.
      ["cookie", {}],
    ]) {
      const told = await Promise.allSettled(GUESTS.map(() => house.visit(route, options)));
      const lost = told.filter(({ status }) => status === "rejected");
      assert.ok(lost.length > 0, `${route}: nobody of ${told.length}`);
    }
    await assert.rejects(house.visit("turn", {}));
  },
};
