// Runs tests one after the other: a line for each, a deadline for each, and a closing line that adds up.

const TEST_MS_MAX = 20_000;

/**
 * Runs `[house, tests]` after `[house, tests]` and returns how many failed. `tests` is an object of
 * `async (house) => ...` by name; `house` has a `name`, and `isQuiet()` that ends when a test has left nothing behind. After
 * a test that failed, `describe()` prints what is known, and `recover()` ends what the test has begun.
 */
export async function runAll(suite, plan) {
  let passed = 0;
  let failed = 0;
  for (const [house, tests] of plan) {
    for (const [name, test] of Object.entries(tests)) {
      const line = `${suite.padEnd(7)} ${house.name.padEnd(7)} ${name}`;
      const begin = performance.now();
      try {
        await within(TEST_MS_MAX, (async () => {
          await test(house);
          await house.isQuiet();
        })());
        passed += 1;
        console.log(`ok    ${line} (${Math.round(performance.now() - begin)} ms)`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL  ${line}\n${error.stack ?? error}`);
        await house.describe();
        await house.recover();
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed;
}

/** The promise's value, or an error when it takes longer than `milliseconds`. */
export async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A value that a later event provides: `resolve` and `reject` come with the promise. */
export function pledge() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

/** What came and was not asked for yet, or who asked and has not got it yet. */
export class Queue {
  #values = [];
  #waiting = [];

  push(value) {
    const next = this.#waiting.shift();
    if (next) next(value);
    else this.#values.push(value);
  }

  async next() {
    if (this.#values.length > 0) return this.#values.shift();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  clear() {
    this.#values = [];
    this.#waiting = [];
  }
}
