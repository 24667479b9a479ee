"""How the process starts, refuses to start, and stops."""

import asyncio
import tempfile
from pathlib import Path

from proxy import binary
from runner import test
from websockets.exceptions import ConnectionClosed

STATUS_CUT = 3
STATUS_CONFIG = 78


@test
async def it_stops_at_once_when_nobody_is_there(workshop):
    async with workshop.open() as house:
        assert await house.longhaul.stop() == 0


@test
async def a_tunnel_may_finish_while_it_stops(workshop):
    async with workshop.open() as house, house.connect("/ws/echo") as tunnel:
        stopping = asyncio.create_task(house.longhaul.stop())
        await nobody_listens(house)
        await tunnel.send("still here")
        assert await tunnel.recv() == "still here"
        assert not stopping.done()
        await tunnel.close(1000)
        assert await stopping == 0


@test
async def a_tunnel_that_stays_is_cut_at_the_deadline(workshop):
    async with workshop.open() as house, house.connect("/ws/echo") as tunnel:
        stopping = asyncio.create_task(house.longhaul.stop())
        try:
            raise AssertionError(f"a message out of nowhere: {await tunnel.recv()!r}")
        except ConnectionClosed:
            assert await stopping == STATUS_CUT


@test
async def a_second_signal_cuts_at_once(workshop):
    async with workshop.open() as house, house.connect("/ws/echo") as tunnel:
        stopping = asyncio.create_task(house.longhaul.stop())
        await nobody_listens(house)
        await tunnel.send("still here")
        assert await tunnel.recv() == "still here"
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


async def nobody_listens(house):
    """Waits until a connection is refused."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", house.port)
        except ConnectionError:
            return
        writer.close()
        await asyncio.sleep(0.02)
