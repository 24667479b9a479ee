"""A process of longhaul: its certificate, its configuration, its log and its metrics."""

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import tempfile
import urllib.request
from collections import deque
from pathlib import Path

START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 15
SERIES = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$")

E2E = Path(__file__).resolve().parents[1]


class Longhaul:
    """`async with Longhaul({"chat-1": port, ...}) as longhaul: ...`: a port for each word between @ in the file.

    `listeners` are further ones, as the file would have them.
    """

    def __init__(self, ports, listeners=""):
        self._ports = ports
        self._listeners = listeners
        self._addresses = {}
        self._log = deque(maxlen=40)
        self._started = asyncio.Event()

    async def __aenter__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="longhaul-e2e-")
        directory = Path(self._directory.name)
        subprocess.run([E2E / "make-certificate", directory], check=True, capture_output=True, timeout=10)
        self.certificate = directory / "server.pem"
        self.trust = ssl.create_default_context(cafile=self.certificate)
        config = directory / "longhaul.toml"
        text = self._config()
        config.write_text(text)
        # Metrics and admin have one each.
        self._addresses_wanted = 2 + text.count("[[listeners]]")
        self.process = await asyncio.create_subprocess_exec(
            binary(), "run", "--config", config,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=1 << 20,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read_log())
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._started.wait()
        except TimeoutError:
            self.describe()
            await self.__aexit__()
            raise RuntimeError("longhaul did not say where it listens") from None
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading
        self._directory.cleanup()

    async def stop(self):
        """Sends SIGTERM and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS_MAX):
            return await self.process.wait()

    def port(self, listener):
        """The port that a listener, such as `plain` or `secure`, or `metrics` or `admin`, was given."""
        return int(self._addresses[listener].rpartition(":")[2])

    def describe(self):
        """Prints the end of the log: called when a test has failed."""
        for line in self._log:
            print("    longhaul:", line)

    async def metric(self, name, **labels):
        """The sum of the series of `name` that carry `labels`; 0 when there is none."""
        text = await asyncio.to_thread(self._scrape)
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        series = (SERIES.match(line) for line in text.splitlines())
        return sum(
            float(one["value"])
            for one in series
            if one and one["name"] == name and wanted <= set((one["labels"] or "").split(","))
        )

    async def metric_becomes(self, value, name, **labels):
        """Waits for the metric to be `value`; the test's deadline bounds the wait."""
        while (seen := await self.metric(name, **labels)) != value:
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                raise AssertionError(f"{name} {labels} is {seen}, not {value}") from None

    def _config(self):
        text = (E2E / "longhaul.toml").read_text() + self._listeners
        return re.sub("@([a-z0-9-]+)@", lambda word: str(self._ports[word[1]]), text)

    def _scrape(self):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{self.port('metrics')}/metrics", timeout=5
        ) as answer:
            return answer.read().decode()

    async def _read_log(self):
        async for line in self.process.stdout:
            line = line.decode(errors="replace").rstrip()
            self._log.append(line)
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record.get("message") == "listening":
                self._addresses[record["listener"]] = record["address"]
            elif record.get("message") in ("metrics", "admin"):
                self._addresses[record["message"]] = record["address"]
            if len(self._addresses) == self._addresses_wanted:
                self._started.set()


def binary():
    """The longhaul to test: `$LONGHAUL`, else the one that `cargo build` makes."""
    return os.environ.get("LONGHAUL") or E2E.parents[1] / "target" / "debug" / "longhaul"
