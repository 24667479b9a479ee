"""How the process starts, refuses to start, and stops."""

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from proxy import binary
from runner import test
from websockets.exceptions import ConnectionClosed

# The head of a Close frame that says 1012 and has ten more bytes.
CLOSE = b"\x88\x0c\x03\xf4"
STATUS_CUT = 3
STATUS_CONFIG = 78


@test
async def it_stops_at_once_when_nobody_is_there(workshop):
    async with workshop.open() as house:
        assert await house.longhaul.stop() == 0


@test
async def a_tunnel_is_asked_to_go_when_it_stops(workshop):
    async with workshop.open() as house, house.connect("/ws/echo") as tunnel:
        stopping = asyncio.create_task(house.longhaul.stop())
        try:
            raise AssertionError(f"a message out of nowhere: {await tunnel.recv()!r}")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (1012, "restarting")
        assert await stopping == 0
        assert (await house.ending())[0] == 1012


@test
async def a_tunnel_that_stays_is_cut_at_the_deadline(workshop):
    async with workshop.open() as house, silent(house) as reader:
        stopping = asyncio.create_task(house.longhaul.stop())
        assert await reader.readexactly(4) == CLOSE
        assert await stopping == STATUS_CUT


@test
async def a_second_signal_cuts_at_once(workshop):
    async with workshop.open() as house, silent(house) as reader:
        stopping = asyncio.create_task(house.longhaul.stop())
        assert await reader.readexactly(4) == CLOSE
        assert await house.longhaul.stop() == STATUS_CUT
        assert await stopping == STATUS_CUT


@test
async def a_wrong_configuration_is_refused_with_its_place(_):
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "wrong.toml"
        config.write_text('[[listeners]]\nname = "public"\nadress = "127.0.0.1:0"\n')
        process = await asyncio.create_subprocess_exec(
            binary(), "run", "--config", config,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == STATUS_CONFIG
        assert b"wrong.toml:3:1" in said and b"adress" in said, said.decode()


@asynccontextmanager
async def silent(house):
    """A tunnel whose client never answers, and what it reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    try:
        writer.write(
            b"GET /ws/echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield reader
    finally:
        writer.close()
