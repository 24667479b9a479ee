"""The Python suite: `LONGHAUL=path python main.py`. Every test runs over plain text and over TLS."""

import asyncio
import socket
import sys
from contextlib import AsyncExitStack

import http2_tests
import http_tests
import process_tests
import tls_tests
import websocket_tests
from chat_backend import ChatBackend
from house import House, Workshop
from proxy import Longhaul
from runner import run_all
from web_backend import WebBackend


async def main():
    async with AsyncExitStack() as stack:
        chat = [await stack.enter_async_context(ChatBackend()) for _ in range(2)]
        web = stack.enter_context(WebBackend())
        dead = stack.enter_context(socket.socket())
        dead.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        ports = {"web": web.port, "dead": dead.getsockname()[1]}
        ports |= {"chat-1": chat[0].port, "chat-2": chat[1].port}
        longhaul = await stack.enter_async_context(Longhaul(ports))
        houses = [House(name, longhaul, chat, web) for name in ("plain", "secure")]
        plan = [(house, [websocket_tests, http_tests]) for house in houses]
        plan.append((houses[1], [http2_tests]))
        return await run_all([*plan, (Workshop(ports, chat, web), [process_tests, tls_tests])])


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main()) else 0)
