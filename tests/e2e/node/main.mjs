// The Node.js suite: `LONGHAUL=path node node/main.mjs`. Every test runs over plain text and over TLS.

import tls from "node:tls";
import { phoenixTests } from "../talks/phoenix_tests.mjs";
import { socketioTests } from "../talks/socketio_tests.mjs";
import { House } from "./house.mjs";
import { Replicas } from "./replicas.mjs";
import { replicasTests } from "./replicas_tests.mjs";
import { Street } from "./street.mjs";
import { runAll } from "./runner.mjs";
import { Stop, stopTests } from "./stop_tests.mjs";
import { tests } from "./tests.mjs";

const street = await Street.start();
let replicas;
try {
  replicas = await Replicas.start();
  // For the clients built into Node.js, which take no certificate of their own.
  tls.setDefaultCACertificates([street.longhaul.certificate, replicas.longhaul.certificate]);
  const listeners = ["plain", "secure"];
  const houses = listeners.map((name) => new House(name, street));
  const groups = [tests, socketioTests, phoenixTests];
  const plan = houses.flatMap((house) => groups.map((group) => [house, group]));
  plan.push(...listeners.map((name) => [replicas.house(name), replicasTests]));
  plan.push([new Stop(), stopTests]);
  process.exitCode = (await runAll("node", plan)) ? 1 : 0;
} finally {
  await street.stop();
  await replicas?.stop();
}
