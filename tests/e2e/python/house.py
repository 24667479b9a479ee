"""What a test gets: longhaul between clients and backends, entered through one of its listeners."""

import asyncio
import http.client
from contextlib import asynccontextmanager

from proxy import Longhaul
from websockets.asyncio.client import connect


class House:
    """The listener `plain` or `secure` of a running longhaul, and the backends behind it."""

    def __init__(self, name, longhaul, chat, web):
        self.name = name
        self.longhaul = longhaul
        self.chat = chat
        self.web = web
        self.secure = name == "secure"
        self.port = longhaul.port(name)
        self.authority = f"localhost:{self.port}"

    def connect(self, path, **options):
        """Opens a WebSocket; an `async with` of the `websockets` library."""
        scheme = "wss" if self.secure else "ws"
        tls = {"ssl": self.longhaul.trust, "server_hostname": "localhost"} if self.secure else {}
        settings = {"max_size": None, "ping_interval": None, "proxy": None, "open_timeout": 10} | options
        return connect(f"{scheme}://{self.authority}{path}", host="127.0.0.1", port=self.port, **tls, **settings)

    def http(self):
        """An `http.client` connection, for use in a thread."""
        if self.secure:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.longhaul.trust)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    async def ending(self):
        """The close code and reason that a backend saw; the tunnel may have been on either of them."""
        waiting = [asyncio.create_task(backend.endings.get()) for backend in self.chat]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in waiting:
                task.cancel()

    @asynccontextmanager
    async def counts_ending(self, **labels):
        """Holds that longhaul counts exactly one ended tunnel with these labels."""
        name, labels = "longhaul_tunnels_closed_total", {"route": "chat"} | labels
        before = await self.longhaul.metric(name, **labels)
        yield
        await self.longhaul.metric_becomes(before + 1, name, **labels)

    async def messages(self):
        """How many messages went to the backends, and how many to the clients."""
        name, route = "longhaul_tunnel_messages_total", "chat"
        return [await self.longhaul.metric(name, route=route, direction=to) for to in ("to_backend", "to_client")]

    async def is_quiet(self):
        """After every test: no tunnel is left, and the backends' notes are cleared."""
        await self.longhaul.metric_becomes(0, "longhaul_tunnels_active")
        for backend in self.chat:
            backend.release.clear()
            while backend.served != backend.ended:
                await asyncio.sleep(0.01)
            while not backend.endings.empty():
                backend.endings.get_nowait()
        self.web.asked.clear()
        self.web.release.clear()
        self.web.client_left.clear()

    def describe(self):
        """Prints what longhaul said last: called when a test has failed."""
        self.longhaul.describe()


class Workshop:
    """For tests of the process: each starts a longhaul of its own."""

    name = "process"

    def __init__(self, ports, chat, web):
        self._ports = ports
        self._backends = (chat, web)
        self._longhaul = None

    @asynccontextmanager
    async def open(self, listeners=""):
        """A house on the plain listener of a new longhaul, which may have further ones."""
        async with Longhaul(self._ports, listeners) as self._longhaul:
            yield House("plain", self._longhaul, *self._backends)

    async def is_quiet(self):
        """Its processes are gone when a test is done."""

    def describe(self):
        """Prints what the last longhaul said last."""
        if self._longhaul:
            self._longhaul.describe()
