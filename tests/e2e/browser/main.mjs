// The browser suite: `LONGHAUL=path node browser/main.mjs`. Chromium on the page of `longhaul demo`, by https and http.

import { runAll } from "../node/runner.mjs";
import { Demo, House, startBrowser } from "./house.mjs";
import { pageTests, protocolTests } from "./tests.mjs";

const demo = await Demo.start();
const browser = await startBrowser();
try {
  const houses = ["secure", "plain"].map((name) => new House(name, demo, browser));
  const plan = houses.flatMap((house) => [[house, protocolTests], [house, pageTests]]);
  process.exitCode = (await runAll("browser", plan)) ? 1 : 0;
} finally {
  await browser.close();
  await demo.process.stop();
}
