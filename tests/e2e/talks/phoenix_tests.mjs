// Phoenix' long polling: a poll is held until there is something to say or its time is over, and the next one follows.

import assert from "node:assert/strict";

export const phoenixTests = {
  async "polls of Phoenix are held, answered, and follow each other"(house) {
    await house.guest(async (page) => {
      await page.call("phoenix.join", house.site);
      const session = await house.street.web.phoenix.sessions.next();
      const values = ["", "grüß dich, 世界 🌍", "x".repeat(200_000)];
      assert.deepEqual(await page.call("phoenix.echo", values, false), values);
      // Two polls come back with nothing, and the session goes on.
      const silent = session.rounds[204];
      while (session.rounds[204] < silent + 2) {
        await session.held();
        await session.released();
      }
      for (const word of ["one", "two", "three"]) {
        await session.held();
        const answered = session.rounds[200];
        session.say("room:1", "news", { word });
        assert.equal(session.rounds[200], answered + 1);
        assert.equal(await page.call("phoenix.hear"), word);
      }
      const many = Array.from({ length: 300 }, (_, index) => index);
      assert.deepEqual(await page.call("phoenix.echo", many, true), many);
      assert.ok(Math.max(...session.batches) > 1, `${session.batches}`);
      assert.equal(session.rounds[410], 0);
    });
  },

  async "a client of Phoenix that leaves during a poll ends the backend's request"(house) {
    let session;
    await house.guest(async (page) => {
      await page.call("phoenix.join", house.site);
      session = await house.street.web.phoenix.sessions.next();
      await session.held();
      await page.call("phoenix.leave");
      await session.left;
      assert.equal(session.poll, null);
      // Or it goes with all that it is in.
      await page.call("phoenix.join", house.site);
      session = await house.street.web.phoenix.sessions.next();
      await session.held();
    });
    await session.left;
  },

  async "a session of Phoenix that is gone is begun anew"(house) {
    await house.guest(async (page) => {
      await page.call("phoenix.join", house.site);
      const { phoenix } = house.street.web;
      const session = await phoenix.sessions.next();
      await session.held();
      phoenix.forget(session);
      const next = await phoenix.sessions.next();
      assert.notEqual(next.token, session.token);
      assert.deepEqual(await page.call("phoenix.echo", ["back again"], false), ["back again"]);
    });
  },
};
