// A longhaul with everything behind it.

import { createServer } from "node:net";
import { Backend } from "./backend.mjs";
import { Longhaul } from "./proxy.mjs";
import { Queue } from "./runner.mjs";
import { Web } from "./web.mjs";

export class Street {
  static async start() {
    const one = new Street();
    /** The close codes and reasons that the backends saw. */
    one.endings = new Queue();
    one.backends = [await Backend.start(one.endings), await Backend.start(one.endings)];
    one.web = await Web.start();
    one.longhaul = await Longhaul.start({
      "chat-1": one.backends[0].port,
      "chat-2": one.backends[1].port,
      web: one.web.port,
      dead: await deadPort(),
    });
    return one;
  }

  /** After every test: no tunnel and no stream is left, and the backends' notes are cleared. */
  async isQuiet() {
    await this.longhaul.metricBecomes(0, "longhaul_tunnels_active");
    for (const backend of [...this.backends, this.web]) await backend.isQuiet();
    this.clear();
  }

  /** Forgets what nobody has asked for. */
  clear() {
    this.endings.clear();
    this.web.clear();
  }

  async stop() {
    await this.longhaul.stop();
    for (const backend of [...this.backends, this.web]) backend.stop();
  }
}

/** A port on which nobody listens: it was free a moment ago. */
async function deadPort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
