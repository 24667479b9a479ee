"""A WebSocket server made with the `websockets` library; the path says what it does."""

import asyncio
import hashlib
import json
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

SUBPROTOCOLS = ("chat.v2", "chat.v1")


class ChatBackend:
    """`async with ChatBackend() as backend: ... backend.port`"""

    def __init__(self):
        self.served = 0
        self.ended = 0
        self.endings = asyncio.Queue()
        self.release = asyncio.Event()

    async def __aenter__(self):
        self._server = await serve(
            self._handle, "127.0.0.1", 0,
            process_request=self._answer_request, process_response=self._mark_response,
            select_subprotocol=choose_subprotocol, max_size=None, ping_interval=None,
        )  # fmt: skip
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    def _answer_request(self, connection, request):
        if urlsplit(request.path).path.endswith("/refuse"):
            response = connection.respond(403, "not you\n")
            response.headers["X-Why"] = "the bouncer"
            return response
        return None

    def _mark_response(self, connection, request, response):
        response.headers["X-Backend"] = "python"
        response.headers["Set-Cookie"] = "seat=12; Path=/"
        response.headers["Set-Cookie"] = "row=4; Path=/"

    async def _handle(self, connection):
        self.served += 1
        target = urlsplit(connection.request.path)
        query = {key: values[0] for key, values in parse_qs(target.query).items()}
        act = {
            "echo": self._echo,
            "request": self._tell_request,
            "fragments": self._fragments,
            "ping": self._ping,
            "close": self._close,
            "greet": self._greet,
            "late": self._read_late,
        }[target.path.rpartition("/")[2]]
        try:
            await act(connection, query)
        except ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            self.ended += 1
            self.endings.put_nowait((connection.close_code, connection.close_reason))

    async def _echo(self, connection, _):
        async for message in connection:
            await connection.send(message)

    async def _tell_request(self, connection, _):
        request = connection.request
        fields = [[name.lower(), value] for name, value in request.headers.raw_items()]
        await connection.send(json.dumps({"target": request.path, "fields": fields}))

    async def _fragments(self, connection, _):
        sizes = [len(part) async for part in connection.recv_streaming()]
        await connection.send(json.dumps(sizes))
        await connection.send(["one ", "two ", "three"])

    async def _ping(self, connection, _):
        pong = await connection.ping(b"from the backend")
        await pong
        await connection.send("pong came")

    async def _close(self, connection, query):
        if query.get("abort"):
            connection.transport.abort()
        else:
            await connection.close(int(query["code"]), query.get("reason", ""))

    async def _greet(self, connection, query):
        for number in range(int(query["count"])):
            await connection.send(f"greeting {number}")

    async def _read_late(self, connection, query):
        await self.release.wait()
        digest = hashlib.sha256()
        for _ in range(int(query["count"])):
            digest.update(await connection.recv())
        await connection.send(digest.hexdigest())


def choose_subprotocol(_, offered):
    return next((name for name in SUBPROTOCOLS if name in offered), None)
