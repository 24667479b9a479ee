// Server-sent events: Chromium's EventSource, by HTTP/2 and by HTTP/1.1.

import assert from "node:assert/strict";

/** Opens a page and a source of events in it, as `source`; `stream` is the backend's end of it. */
async function visit(lane, use) {
  await lane.visit(async (page) => {
    await page.evaluate(async () => {
      globalThis.source = await e2e.listen("/web/events");
    });
    await use(page, await lane.street.web.stream());
  });
}

export const eventTests = {
  async "a stream opens before its first event, and no event waits for the next"(lane) {
    await visit(lane, async (page, stream) => {
      assert.equal((await page.answer("/web/events")).protocol, { "1.1": "http/1.1", 2: "h2" }[lane.versions.page]);
      for (const data of ["first", "grüß dich, 世界 🌍", "x".repeat(100_000), "last"]) {
        stream.send(data);
        assert.equal(await page.evaluate(() => source.next()), data);
      }
    });
  },

  async "five thousand events keep their order"(lane) {
    await visit(lane, async (page, stream) => {
      for (let number = 0; number < 5000; number += 1) stream.send(number);
      const numbers = await page.evaluate(async () => {
        const numbers = [];
        while (numbers.length < 5000) numbers.push(Number(await source.next()));
        return numbers;
      });
      assert.deepEqual(numbers, Array.from({ length: 5000 }, (_, number) => number));
    });
  },

  async "a source comes back with the id of its last event"(lane) {
    await visit(lane, async (page, stream) => {
      assert.equal(stream.lastEventId, undefined);
      // The backend ends the stream, or breaks it off.
      for (const [id, leave] of [["7", "end"], ["grüß", "abort"], ["9", "end"]]) {
        stream.send("before", { id, retry: 10 });
        assert.equal(await page.evaluate(() => source.next()), "before");
        stream[leave]();
        stream = await lane.street.web.stream();
        assert.equal(Buffer.from(stream.lastEventId, "latin1").toString(), id);
        stream.send("after");
        assert.equal(await page.evaluate(() => source.next()), "after");
      }
    });
  },

  async "a source that is closed ends the backend's request"(lane) {
    await visit(lane, async (page, stream) => {
      stream.send("first");
      await page.evaluate(async () => {
        await source.next();
        source.close();
      });
      assert.ok(await stream.left);
    });
  },

  async "a page that goes away ends the backend's request"(lane) {
    let left;
    await visit(lane, async (_, stream) => {
      ({ left } = stream);
    });
    assert.ok(await left);
  },
};

/** Where a page may have more streams than HTTP/1.1 lets it have connections. */
export const manyEventsTests = {
  async "thirty sources of one page are served by one connection, and one that is closed ends no other"(lane) {
    await lane.visit(async (page) => {
      const before = await lane.connections();
      await page.evaluate(async () => {
        globalThis.sources = await Promise.all(Array.from({ length: 30 }, () => e2e.listen("/web/events")));
      });
      const streams = [];
      while (streams.length < 30) streams.push(await lane.street.web.stream());
      await page.evaluate(() => sources.shift().close());
      await Promise.race(streams.map((stream) => stream.left));
      streams.forEach((stream, number) => stream.send(number));
      const told = await page.evaluate(() => Promise.all(sources.map((source) => source.next())));
      const numbers = new Set(told);
      assert.equal(numbers.size, 29);
      assert.deepEqual([await lane.connections(), await lane.faults("data_flood")], [before, 0]);
    });
  },
};
