// The Node.js suite: `LONGHAUL=path node node/main.mjs`. Every test runs over plain text and over TLS.

import { createServer } from "node:net";
import tls from "node:tls";
import { Backend } from "./backend.mjs";
import { House } from "./house.mjs";
import { Longhaul } from "./proxy.mjs";
import { runAll } from "./runner.mjs";
import { tests } from "./tests.mjs";

/** A port on which nobody listens: it was free a moment ago. */
async function deadPort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const backends = [await Backend.start(), await Backend.start()];
const longhaul = await Longhaul.start({
  "chat-1": backends[0].port,
  "chat-2": backends[1].port,
  web: backends[0].port,
  dead: await deadPort(),
});
try {
  // For the WebSocket client built into Node.js, which takes no certificate of its own.
  tls.setDefaultCACertificates([longhaul.certificate]);
  const houses = ["plain", "secure"].map((name) => new House(name, longhaul, backends));
  process.exitCode = (await runAll("node", houses.map((house) => [house, tests]))) ? 1 : 0;
} finally {
  await longhaul.stop();
  for (const backend of backends) backend.stop();
}
