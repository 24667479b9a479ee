// The browser suite: `LONGHAUL=path node browser/main.mjs`. Chromium on the page of `longhaul demo`, by https and http,
// and on a blank page by every version of HTTP.

import { runAll } from "../node/runner.mjs";
import { Street } from "../node/street.mjs";
import { phoenixTests } from "../talks/phoenix_tests.mjs";
import { socketioTests } from "../talks/socketio_tests.mjs";
import { eventTests, manyEventsTests } from "./event_tests.mjs";
import { Demo, House, startBrowser } from "./house.mjs";
import { Lane } from "./lane.mjs";
import { Stop, stopTests } from "./stop_tests.mjs";
import { pageTests, protocolTests } from "./tests.mjs";
import { sharingTests, tunnelTests } from "./tunnel_tests.mjs";

const demo = await Demo.start();
const street = await Street.start();
const browser = await startBrowser();
try {
  const houses = ["secure", "plain"].map((name) => new House(name, demo, browser));
  const at = (name, ...groups) => groups.map((tests) => [new Lane(name, street, browser), tests]);
  const plan = [
    ...houses.flatMap((house) => [[house, protocolTests], [house, pageTests]]),
    ...at("extended", tunnelTests, sharingTests, eventTests, manyEventsTests, socketioTests, phoenixTests),
    ...at("secure", tunnelTests, socketioTests),
    ...at("older", eventTests, phoenixTests),
    [new Stop(browser), stopTests],
  ];
  process.exitCode = (await runAll("browser", plan)) ? 1 : 0;
} finally {
  await browser.close();
  await demo.process.stop();
  await street.stop();
}
