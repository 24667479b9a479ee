// A browser's own WebSocket through longhaul, and the demo page itself.

import assert from "node:assert/strict";
import path from "node:path";
import { screenshotDirectory } from "./house.mjs";

export const protocolTests = {
  async "text comes back"(house) {
    await house.visit(async (page) => {
      const messages = ["hello", "", "grüß dich, 世界 🌍", "x".repeat(1 << 20)];
      const back = await page.evaluate(async (sent) => {
        const socket = await e2e.connect("/echo");
        sent.forEach((message) => socket.send(message));
        const received = [];
        while (received.length < sent.length) received.push(await socket.next());
        return received;
      }, messages);
      assert.deepEqual(back, messages);
    });
  },

  async "a buffer and a blob come back"(house) {
    await house.visit(async (page) => {
      const { sent, back } = await page.evaluate(async () => {
        const socket = await e2e.connect("/echo");
        const bytes = e2e.noise(60_000);
        socket.send(bytes.buffer);
        const asBuffer = await socket.next();
        socket.binaryType = "blob";
        socket.send(new Blob([bytes]));
        const asBlob = await socket.next();
        const back = [asBuffer instanceof ArrayBuffer, asBlob instanceof Blob];
        back.push(await e2e.digest(asBuffer), await e2e.digest(await asBlob.arrayBuffer()));
        return { sent: await e2e.digest(bytes), back };
      });
      assert.deepEqual(back, [true, true, sent, sent]);
    });
  },

  async "ten megabytes drain from the send buffer and all come back"(house) {
    await house.visit(async (page) => {
      const told = await page.evaluate(async () => {
        const socket = await e2e.connect("/echo");
        const block = e2e.noise(1_000_000);
        for (let count = 0; count < 10; count += 1) socket.send(block);
        const bufferedAtOnce = socket.bufferedAmount;
        const digests = new Set();
        for (let count = 0; count < 10; count += 1) digests.add(await e2e.digest(await socket.next()));
        const same = digests.size === 1 && digests.has(await e2e.digest(block));
        return { bufferedAtOnce, bufferedAtLast: socket.bufferedAmount, same };
      });
      assert.deepEqual(told, { bufferedAtOnce: 10_000_000, bufferedAtLast: 0, same: true });
    });
  },

  async "a close with code and reason is clean"(house) {
    await house.visit(async (page) => {
      for (const ending of [{ code: 1000, reason: "" }, { code: 4001, reason: "bye, grüß dich" }]) {
        const seen = await page.evaluate(async ({ code, reason }) => {
          const socket = await e2e.connect("/echo");
          socket.close(code, reason);
          return socket.closed;
        }, ending);
        assert.deepEqual(seen, { ...ending, wasClean: true });
      }
    });
  },

  async "the offered subprotocol is accepted"(house) {
    await house.visit(async (page) => {
      const chosen = await page.evaluate(async () => {
        const socket = await e2e.connect("/echo", "other", "echo.longhaul");
        return socket.protocol;
      });
      assert.equal(chosen, "echo.longhaul");
    });
  },

  async "a refused handshake is an error and a close with 1006"(house) {
    await house.visit(async (page) => {
      const events = await page.evaluate(async () => {
        const socket = new WebSocket(`${location.origin.replace("http", "ws")}/refuse`);
        const seen = [];
        socket.onopen = () => seen.push("open");
        socket.onerror = () => seen.push("error");
        await new Promise((resolve) => {
          socket.onclose = ({ code, wasClean }) => resolve(seen.push("close", code, wasClean));
        });
        return seen;
      });
      assert.deepEqual(events, ["error", "close", 1006, false]);
    });
  },

  async "fifteen tunnels of one page are open at once"(house) {
    await house.visit(async (page) => {
      await page.evaluate(async () => {
        globalThis.sockets = await Promise.all(Array.from({ length: 15 }, () => e2e.connect("/echo")));
      });
      await house.metricBecomes(16, "longhaul_tunnels_active");
      const back = await page.evaluate(() => Promise.all(sockets.map((socket, number) => {
        socket.send(`number ${number}`);
        return socket.next();
      })));
      assert.deepEqual(back, Array.from({ length: 15 }, (_, number) => `number ${number}`));
    });
  },
};

export const pageTests = {
  async "it says which backend answered, and complains of nothing"(house) {
    await house.visit(async (page) => {
      assert.match(await page.locator("#detail").textContent(), /^answered by (east|west)/);
      await house.metricBecomes(1, "longhaul_tunnels_active");
      assert.deepEqual(page.complaints, []);
    });
  },

  async "a typed message comes back with its time and backend"(house) {
    await house.visit(async (page) => {
      const backend = (await page.locator("#detail").textContent()).match(/east|west/)[0];
      await page.getByLabel("Message").fill("is anybody there?");
      await page.keyboard.press("Enter");
      const row = page.locator("#log li", { hasText: "is anybody there?" });
      await row.waitFor();
      assert.equal(await row.locator(".who").textContent(), backend);
      assert.match(await row.locator(".time").textContent(), /^[\d.]+ ms$/);
      assert.equal(await page.locator("#sent").textContent(), "1");
      assert.equal(await page.locator("#received").textContent(), "1");
    });
  },

  async "a mebibyte of binary comes back unchanged"(house) {
    await house.visit(async (page) => {
      await page.getByLabel("Binary").selectOption("1 MiB");
      await page.getByRole("button", { name: "Send binary" }).click();
      await page.locator("#log li", { hasText: "1 MiB of binary" }).waitFor();
    });
  },

  async "a tunnel closes with the chosen code, and reconnects"(house) {
    await house.visit(async (page) => {
      await page.getByLabel("Code").fill("4321");
      await page.getByLabel("Reason").fill("lunch");
      await page.getByRole("button", { name: "Close", exact: true }).click();
      await page.locator("#state", { hasText: "Closed" }).waitFor();
      assert.equal(await page.locator("#detail").textContent(), "4321 “lunch”, clean");
      assert.ok(await page.getByRole("button", { name: "Send", exact: true }).isDisabled());
      await house.metricBecomes(0, "longhaul_tunnels_active");
      await page.getByRole("button", { name: "Reconnect" }).click();
      await page.locator("#state", { hasText: "Open" }).waitFor();
    });
  },

  async "ten more tunnels are shared by east and west"(house) {
    await house.visit(async (page) => {
      await page.getByRole("button", { name: "Open ten more" }).click();
      const count = async (backend) => Number(await page.locator(`#count-${backend}`).textContent());
      await page.waitForFunction(() => {
        const counts = ["east", "west"].map((backend) => document.getElementById(`count-${backend}`).textContent);
        return Number(counts[0]) + Number(counts[1]) === 11;
      });
      assert.ok(Math.min(await count("east"), await count("west")) >= 3);
      await house.metricBecomes(11, "longhaul_tunnels_active");
      await page.getByRole("button", { name: "Close them" }).click();
      await house.metricBecomes(1, "longhaul_tunnels_active");
    });
  },

  async "it looks right on a desk and on a telephone"(house) {
    const directory = screenshotDirectory();
    const looks = [
      ["desk-light", { viewport: { width: 1200, height: 900 }, colorScheme: "light" }],
      ["desk-dark", { viewport: { width: 1200, height: 900 }, colorScheme: "dark" }],
      ["telephone", { viewport: { width: 390, height: 844 }, colorScheme: "dark" }],
    ];
    for (const [look, options] of looks) {
      await house.visit(async (page) => {
        await page.getByRole("button", { name: "Open ten more" }).click();
        for (const text of ["is anybody there?", "grüß dich, 世界", "a message that goes all the way, and comes back"]) {
          await page.getByLabel("Message").fill(text);
          await page.keyboard.press("Enter");
          await page.locator("#log li", { hasText: text }).waitFor();
        }
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= options.viewport.width, `${look}: the page is ${width} pixels wide`);
        await page.screenshot({ path: path.join(directory, `${house.name}-${look}.png`), fullPage: true });
      }, options);
    }
    console.log(`      screenshots are in ${directory}`);
  },
};
