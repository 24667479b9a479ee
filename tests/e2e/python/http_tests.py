"""Plain HTTP, long polling and server-sent events through longhaul."""

import asyncio
import json
import os
from contextlib import closing

from runner import test


@test
async def a_get_passes_with_its_query_and_fields(house):
    def visit():
        with closing(house.http()) as client:
            client.request("GET", "/web/tell?a=1&b=%2F", headers={"X-Trace": "one", "Cookie": "a=1"})
            return answer(client)

    status, fields, body = await asyncio.to_thread(visit)
    told = json.loads(body)
    seen = dict(told["fields"])
    authority = f"127.0.0.1:{house.port}"
    assert status == 200 and fields["x-backend"] == "python"
    assert (told["method"], told["target"]) == ("GET", "/web/tell?a=1&b=%2F")
    assert (seen["x-trace"], seen["cookie"], seen["host"]) == ("one", "a=1", authority)
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == ("https" if house.secure else "http")
    assert seen["x-forwarded-host"] == authority


@test
async def a_client_cannot_say_whom_it_is_forwarded_for(house):
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example.com"}

    def visit():
        with closing(house.http()) as client:
            client.request("GET", "/web/tell", headers=claims | {"Forwarded": "for=6.6.6.6"})
            return answer(client)

    _, _, body = await asyncio.to_thread(visit)
    fields = json.loads(body)["fields"]
    for word in ("6.6.6.6", "evil", "gopher"):
        assert not [field for field in fields if word in field[1]], fields
    assert dict(fields)["x-forwarded-for"] == "127.0.0.1"


@test
async def posts_pass_with_a_length_and_in_chunks(house):
    body = os.urandom(300_000)

    def visit():
        with closing(house.http()) as client:
            client.request("POST", "/web/post", body=body)
            measured = answer(client)
            client.request("POST", "/web/post", body=iter([body[:7], body[7:]]), encode_chunked=True)
            return measured, answer(client)

    for status, _, answered in await asyncio.to_thread(visit):
        told = json.loads(answered)
        assert (status, told["method"]) == (200, "POST")
        assert told["body"].encode("latin-1") == body


@test
async def a_head_has_a_length_and_no_body(house):
    def visit():
        with closing(house.http()) as client:
            client.request("HEAD", "/web/tell")
            head = answer(client)
            client.request("GET", "/web/tell")
            return head, answer(client)

    (status, fields, body), (after, _, _) = await asyncio.to_thread(visit)
    assert (status, fields["content-length"], body, after) == (200, "1234", b"", 200)


@test
async def longhaul_answers_for_what_is_not_there(house):
    def visit(path):
        with closing(house.http()) as client:
            client.request("GET", path)
            return answer(client)[0]

    assert await asyncio.to_thread(visit, "/nowhere") == 404
    assert await asyncio.to_thread(visit, "/dead/end") == 502


@test
async def a_long_poll_is_answered_when_the_backend_answers(house):
    def visit():
        with closing(house.http()) as client:
            client.request("GET", "/web/late")
            return answer(client)

    polling = asyncio.create_task(asyncio.to_thread(visit))
    assert await asyncio.to_thread(house.web.asked.wait, 5)
    assert not polling.done()
    house.web.release.set()
    status, _, body = await polling
    assert (status, body) == (200, b"worth the wait")


@test
async def an_event_arrives_before_the_next_is_sent(house):
    def visit():
        with closing(house.http()) as client:
            client.request("GET", "/web/events", headers={"Accept": "text/event-stream"})
            response = client.getresponse()
            kind = response.headers["Content-Type"]
            first = read_event(response)
            house.web.release.set()
            return kind, first, read_event(response)

    kind, first, second = await asyncio.to_thread(visit)
    assert kind == "text/event-stream"
    assert first == ["id: 1", "data: first"]
    assert second == ["id: 2", "data: second"]


@test
async def a_backend_learns_that_its_event_reader_left(house):
    def visit():
        with closing(house.http()) as client:
            client.request("GET", "/web/events")
            response = client.getresponse()
            read_event(response)
            house.web.release.set()
            read_event(response)
            response.close()
        return house.web.client_left.wait(5)

    assert await asyncio.to_thread(visit)


def answer(client):
    response = client.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def read_event(response):
    lines = []
    while line := response.readline().decode().rstrip("\n"):
        lines.append(line)
    return lines
