// Tunnels when longhaul stops, of a longhaul of their own.

import assert from "node:assert/strict";
import { House } from "./house.mjs";
import { Street } from "./street.mjs";

export class Stop {
  name = "stop";

  /** A longhaul that is gone when a test is done. */
  async isQuiet() {}

  async recover() {}

  describe() {}
}

export const stopTests = {
  async "clients and backends learn that it stops"() {
    const street = await Street.start();
    try {
      const tunnels = [];
      for (const name of ["plain", "secure"]) {
        // What a handshake over TLS trusts is the certificate of this one.
        tunnels.push(await new House(name, street).connect("/ws/echo"));
      }
      street.longhaul.process.child.kill("SIGTERM");
      for (const tunnel of tunnels) {
        assert.deepEqual(await tunnel.closed, { code: 1012, reason: "restarting" });
        assert.equal((await street.endings.next()).code, 1012);
      }
      assert.equal(await street.longhaul.process.ended, 0);
    } finally {
      await street.stop();
    }
  },
};
