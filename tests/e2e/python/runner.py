"""Runs tests one after the other: a line for each, a deadline for each, and a closing line that adds up."""

import asyncio
import sys
import time
import traceback

TEST_SECONDS_MAX = 15


def test(function):
    """Marks `async def function(house)`. Its name, read as words, is the test's name."""
    function.is_test = True
    return function


async def run_all(plan):
    """Runs `(house, modules)` after `(house, modules)`, prints the closing line, returns how many tests failed."""
    passed = failed = 0
    for house, modules in plan:
        for function in (one for module in modules for one in vars(module).values()):
            if not hasattr(function, "is_test"):
                continue
            name = f"python  {house.name:<7} {function.__name__.replace('_', ' ')}"
            begin = time.monotonic()
            try:
                async with asyncio.timeout(TEST_SECONDS_MAX):
                    await function(house)
                    await house.is_quiet()
            except Exception:  # noqa: BLE001 - a failed test must not stop the next
                failed += 1
                print(f"FAIL  {name}", flush=True)
                traceback.print_exc(file=sys.stdout)
                house.describe()
            else:
                passed += 1
                print(f"ok    {name} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed
