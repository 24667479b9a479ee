"""WebSocket through longhaul, with the `websockets` library at both ends."""

import asyncio
import hashlib
import json
import os

from runner import test
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

MEBIBYTE = 1 << 20


@test
async def text_comes_back(house):
    async with house.connect("/ws/echo") as tunnel:
        for message in ("hello", "", "grüß dich, 世界 🌍"):
            await tunnel.send(message)
            assert await tunnel.recv() == message


@test
async def binary_comes_back(house):
    async with house.connect("/ws/echo") as tunnel:
        for message in (b"", bytes(range(256)), os.urandom(70_000)):
            await tunnel.send(message)
            assert await tunnel.recv() == message


@test
async def a_mebibyte_comes_back_as_text_and_as_binary(house):
    for compression in (None, "deflate"):
        async with house.connect("/ws/echo", compression=compression) as tunnel:
            for message in (os.urandom(MEBIBYTE), "ä" * (MEBIBYTE // 2)):
                await tunnel.send(message)
                assert await tunnel.recv() == message


@test
async def ten_thousand_messages_keep_their_order(house):
    async with house.connect("/ws/echo") as tunnel:

        async def send():
            for number in range(10_000):
                await tunnel.send(str(number))

        sending = asyncio.create_task(send())
        for number in range(10_000):
            assert await tunnel.recv() == str(number)
        await sending


@test
async def fragments_stay_fragments_both_ways(house):
    for compression in (None, "deflate"):
        async with house.connect("/ws/fragments", compression=compression) as tunnel:
            await tunnel.send([b"a" * 10, b"b" * 20_000, b"c" * 30])
            sizes = json.loads(await tunnel.recv())
            assert [size for size in sizes if size] == [10, 20_000, 30], sizes
            parts = [part async for part in tunnel.recv_streaming()]
            assert [part for part in parts if part] == ["one ", "two ", "three"], parts


@test
async def the_backends_first_words_are_not_lost(house):
    async with house.connect("/ws/greet?count=50") as tunnel:
        for number in range(50):
            assert await tunnel.recv() == f"greeting {number}"


@test
async def a_ping_from_the_client_is_answered(house):
    async with house.connect("/ws/echo") as tunnel:
        for payload in (b"", b"how far is it", b"x" * 125):
            await (await tunnel.ping(payload))


@test
async def longhauls_own_pings_are_answered_and_nobody_sees_them(house):
    name = "longhaul_ping_round_trip_seconds_count"
    sides = {side: await house.longhaul.metric(name, route="pinged", side=side) for side in ("client", "backend")}
    async with house.connect("/ws/pinged/echo") as tunnel:
        for side, before in sides.items():
            while await house.longhaul.metric(name, route="pinged", side=side) < before + 5:
                await asyncio.sleep(0.05)
        # Neither end has got an answer of the other's to them, nor lost one to a Ping of its own.
        await (await tunnel.ping(b"how far is it"))
        await tunnel.send("still here")
        assert await tunnel.recv() == "still here"


@test
async def a_ping_from_the_backend_is_answered(house):
    async with house.connect("/ws/ping") as tunnel:
        assert await tunnel.recv() == "pong came"


@test
async def the_clients_close_code_and_reason_reach_the_backend(house):
    for code, reason in ((1000, ""), (1001, "going away"), (4001, "bye, grüß dich"), (4999, "r" * 123)):
        async with house.counts_ending(reason="closed", initiator="client"):
            async with house.connect("/ws/echo") as tunnel:
                await tunnel.close(code, reason)
                assert tunnel.close_code == code
            assert await house.ending() == (code, reason)


@test
async def the_backends_close_code_and_reason_reach_the_client(house):
    for code, reason in ((1000, ""), (1011, "broken"), (4002, "enough"), (4999, "r" * 123)):
        async with house.counts_ending(reason="closed", initiator="backend"):
            async with house.connect(f"/ws/close?code={code}&reason={reason}") as tunnel:
                kind = ConnectionClosedOK if code == 1000 else ConnectionClosedError
                closed = await expect(kind, tunnel.recv())
                assert (closed.rcvd.code, closed.rcvd.reason) == (code, reason)
            assert await house.ending() == (code, reason)


@test
async def a_client_that_vanishes_is_told_to_the_backend(house):
    async with house.counts_ending(initiator="client"), house.connect("/ws/echo") as tunnel:
        await tunnel.send("here")
        assert await tunnel.recv() == "here"
        tunnel.transport.abort()
        # longhaul tells it by a Close of its own.
        assert (await house.ending())[0] == 1011


@test
async def a_backend_that_vanishes_is_told_to_the_client(house):
    async with house.counts_ending(initiator="backend"), house.connect("/ws/close?abort=1") as tunnel:
        closed = await expect(ConnectionClosed, tunnel.recv())
        assert closed.rcvd and closed.rcvd.code == 1011, closed


@test
async def the_backend_chooses_the_subprotocol(house):
    for offered, chosen in ((["chat.v1", "chat.v2"], "chat.v2"), (["other", "chat.v1"], "chat.v1"), (None, None)):
        async with house.connect("/ws/echo", subprotocols=offered) as tunnel:
            assert tunnel.subprotocol == chosen


@test
async def compression_is_between_client_and_backend(house):
    async with house.connect("/ws/echo", compression="deflate") as tunnel:
        assert "permessage-deflate" in tunnel.response.headers["Sec-WebSocket-Extensions"]
        for message in ("longhaul " * 50_000, "short", b"\0" * MEBIBYTE):
            await tunnel.send(message)
            assert await tunnel.recv() == message
    async with house.connect("/ws/echo", compression=None) as tunnel:
        assert "Sec-WebSocket-Extensions" not in tunnel.response.headers


@test
async def the_handshakes_fields_pass_both_ways(house):
    fields = [("Authorization", "Bearer seat-12"), ("Cookie", "a=1; b=2"), ("X-Trace", "one"), ("X-Trace", "two")]
    options = {"additional_headers": fields, "origin": "https://chat.example.com", "user_agent_header": "e2e/1"}
    async with house.connect("/ws/request?room=7&x=%2F", **options) as tunnel:
        told = json.loads(await tunnel.recv())
        values = {}
        for name, value in told["fields"]:
            values.setdefault(name, []).append(value)
        assert told["target"] == "/ws/request?room=7&x=%2F"
        assert values["host"] == [house.authority]
        assert values["authorization"] == ["Bearer seat-12"]
        assert values["cookie"] == ["a=1; b=2"]
        assert ", ".join(values["x-trace"]) == "one, two"
        assert values["origin"] == ["https://chat.example.com"]
        assert values["user-agent"] == ["e2e/1"]
        assert values["x-forwarded-for"] == ["127.0.0.1"]
        assert values["x-forwarded-proto"] == ["https" if house.secure else "http"]
        assert values["x-forwarded-host"] == [house.authority]
        assert tunnel.response.headers["X-Backend"] == "python"
        assert tunnel.response.headers.get_all("Set-Cookie") == ["seat=12; Path=/", "row=4; Path=/"]


@test
async def the_backends_refusal_reaches_the_client_whole(house):
    response = await refused(house.connect("/ws/refuse"))
    assert response.status_code == 403
    assert response.body == b"not you\n"
    assert response.headers["X-Why"] == "the bouncer"


@test
async def longhaul_refuses_with_a_fitting_status(house):
    assert (await refused(house.connect("/nowhere"))).status_code == 404
    assert (await refused(house.connect("/dead/end"))).status_code == 502
    assert (await refused(house.connect("/guarded/echo", origin="https://evil.example.com"))).status_code == 403
    async with house.connect("/guarded/echo", origin="https://chat.example.com") as tunnel:
        await tunnel.send("let in")
        assert await tunnel.recv() == "let in"


@test
async def a_backend_that_does_not_read_stops_the_client(house):
    count = 96
    async with house.connect(f"/ws/late?count={count}", compression=None) as tunnel:
        block = os.urandom(MEBIBYTE)
        digest = hashlib.sha256()

        async def send():
            for _ in range(count):
                digest.update(block)
                await tunnel.send(block)

        sending = asyncio.create_task(send())
        await asyncio.wait([sending], timeout=0.5)
        assert not sending.done(), "somebody keeps 96 MiB for a backend that does not read"
        for backend in house.chat:
            backend.release.set()
        await sending
        assert await tunnel.recv() == digest.hexdigest()


@test
async def two_hundred_clients_at_once_share_the_backends(house):
    count = 200
    opened = await house.longhaul.metric("longhaul_tunnels_opened_total", route="chat")
    served = [backend.served for backend in house.chat]
    all_in = asyncio.Barrier(count + 1)

    async def visit(number):
        async with house.connect("/ws/echo") as tunnel:
            await all_in.wait()
            for turn in range(5):
                await tunnel.send(f"{number}.{turn}")
                assert await tunnel.recv() == f"{number}.{turn}"
            await all_in.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(visit(number))
        await all_in.wait()
        await house.longhaul.metric_becomes(count, "longhaul_tunnels_active", route="chat")
        await all_in.wait()
    await house.longhaul.metric_becomes(0, "longhaul_tunnels_active", route="chat")
    assert await house.longhaul.metric("longhaul_tunnels_opened_total", route="chat") == opened + count
    shares = [backend.served - before for backend, before in zip(house.chat, served, strict=True)]
    assert sum(shares) == count and min(shares) >= count // 4, shares


@test
async def messages_are_counted_and_neither_fragments_nor_pings(house):
    for compression in (None, "deflate"):
        before = await house.messages()
        async with house.connect("/ws/echo", compression=compression) as tunnel:
            for message in ("one", "", [b"in ", b"three ", b"parts"]):
                await tunnel.send(message)
                await tunnel.recv()
                await (await tunnel.ping())
        await house.longhaul.metric_becomes(0, "longhaul_tunnels_active")
        assert await house.messages() == [count + 3 for count in before]


async def expect(kind, awaitable):
    """The exception of `kind` that the awaitable must raise."""
    try:
        value = await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {value!r}")


async def refused(connecting):
    """The answer to a handshake that must fail."""

    async def attempt():
        async with connecting:
            pass

    return (await expect(InvalidStatus, attempt())).response
