// Chromium's tunnels when longhaul stops: each page has one, by every listener, of a longhaul of their own.

import assert from "node:assert/strict";
import { Street } from "../node/street.mjs";
import { closeAll } from "./house.mjs";
import { Lane } from "./lane.mjs";

const LISTENERS = ["plain", "older", "secure", "extended"];

export class Stop {
  constructor(browser) {
    this.name = "stop";
    this.browser = browser;
  }

  /** A longhaul that is gone when a test is done. */
  async isQuiet() {}

  async recover() {
    await closeAll(this.browser);
  }

  describe() {}
}

export const stopTests = {
  async "pages learn code and reason, and it is a clean end"({ browser }) {
    const street = await Street.start();
    const seen = {};
    const visit = async ([name, ...others]) => {
      if (!name) return street.longhaul.process.child.kill("SIGTERM");
      return new Lane(name, street, browser).visit(async (page) => {
        await page.evaluate(async () => {
          globalThis.socket = await e2e.connect("/ws/echo");
        });
        await visit(others);
        seen[name] = await page.evaluate(() => socket.closed);
      });
    };
    try {
      await visit(LISTENERS);
      for (const name of LISTENERS) {
        assert.deepEqual(seen[name], { code: 1012, reason: "restarting", wasClean: true }, name);
        assert.equal((await street.endings.next()).code, 1012);
      }
      assert.equal(await street.longhaul.process.ended, 0);
    } finally {
      await street.stop();
    }
  },
};
