"""HTTP/2 towards `curl`, `nghttp`, `h2load` and `openssl s_client`: what it carries, and where it is spoken."""

import asyncio
import json
import os
import re
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from command import SECONDS_MAX, run
from runner import test

FRAMES = ["--verbose", "--null-out"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"


def address(house, path, listener="secure"):
    scheme = "http" if listener == "plain" else "https"
    return f"{scheme}://localhost:{house.longhaul.port(listener)}{path}"


def curl_words(house, *words):
    limits = ["--max-time", str(SECONDS_MAX), "--cacert", house.longhaul.certificate]
    return ["curl", "--silent", "--noproxy", "*", "--ipv4", *limits, *words]


async def curl(house, *words, said=b""):
    """The version of HTTP, the status, and what curl printed; or curl's exit status alone."""
    status, printed = await run(*curl_words(house, "--write-out", "\n%{http_version} %{http_code}", *words), said=said)
    if status != 0:
        return status
    printed, _, facts = printed.rpartition("\n")
    return [*facts.split(), printed]


async def nghttp(house, path, *words):
    """What nghttp printed: the answer's body, or of --verbose and --null-out its frames."""
    to = address(house, path).replace("localhost", "127.0.0.1")
    status, printed = await run("nghttp", "--no-verify-peer", "--timeout", str(SECONDS_MAX), *words, to)
    assert status == 0, printed
    return printed


def fields(printed):
    """The fields that came in, in nghttp's frames: `name: value`, whatever the stream."""
    return re.findall(r"recv \(stream_id=\d+\) (.*)", printed)


async def s_client(house, listener, *words, said=b""):
    to = f"127.0.0.1:{house.longhaul.port(listener)}"
    trust = ["-CAfile", house.longhaul.certificate, "-verify_return_error"]
    return await run("openssl", "s_client", "-connect", to, *trust, *words, said=said)


@contextmanager
def written(text):
    """The path of a file with this text."""
    with tempfile.TemporaryDirectory(prefix="longhaul-e2e-") as folder:
        file = Path(folder, "body")
        file.write_text(text)
        yield file


@asynccontextmanager
async def counted(house, name, count, **labels):
    """Holds that longhaul counts so many more."""
    before = await house.longhaul.metric(name, **labels)
    yield
    await house.longhaul.metric_becomes(before + count, name, **labels)


@asynccontextmanager
async def no_fault(house):
    """Holds that no connection is counted as a fault."""
    before = await house.longhaul.metric("longhaul_connection_errors_total")
    yield
    await house.longhaul.metric_becomes(0, "longhaul_connections_active", listener="secure")
    assert await house.longhaul.metric("longhaul_connection_errors_total") == before


@test
async def curl_gets_posts_and_asks_for_heads(house):
    async with no_fault(house):
        words = ["--header", "X-Trace: one", "--cookie", "a=1; b=2", address(house, "/web/tell?a=1&b=%2F")]
        version, status, body = await curl(house, "--http2", *words)
        told = json.loads(body)
        seen = dict(told["fields"])
        assert (version, status, told["method"], told["target"]) == ("2", "200", "GET", "/web/tell?a=1&b=%2F")
        assert (seen["x-trace"], seen["cookie"]) == ("one", "a=1; b=2")
        assert seen["host"] == f"localhost:{house.port}"
        assert (seen["x-forwarded-proto"], seen["x-forwarded-for"]) == ("https", "127.0.0.1")
        sent = os.urandom(150_000).hex()
        for words in [["--data-binary", "@-"], ["--request", "POST", "--upload-file", "-"]]:
            version, status, body = await curl(house, *words, address(house, "/web/post"), said=sent.encode())
            told = json.loads(body)
            assert (version, status, told["method"]) == ("2", "200", "POST")
            assert told["body"] == sent
        version, status, head = await curl(house, "--head", address(house, "/web/tell"))
        assert (version, status) == ("2", "200") and "content-length: 1234" in head, head
        assert (await curl(house, address(house, "/nowhere")))[:2] == ["2", "404"]
        assert (await curl(house, address(house, "/dead/end")))[:2] == ["2", "502"]


@test
async def transfers_of_curl_share_one_connection(house):
    async with no_fault(house), counted(house, "longhaul_connections_total", 1, listener="secure"):
        words = ["--parallel", "--parallel-max", "60", address(house, "/web/tell?[1-60]")]
        status, printed = await run(*curl_words(house, *words))
        targets = re.findall(r'"target": "/web/tell\?(\d+)"', printed)
        assert status == 0 and sorted(map(int, targets)) == list(range(1, 61)), printed


@test
async def a_stream_of_events_reaches_curl_as_it_comes_and_ends_with_curl(house):
    words = curl_words(house, "--http2", "--no-buffer", address(house, "/web/events"))
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        assert await process.stdout.readuntil(b"\n\n") == b"id: 1\ndata: first\n\n"
        house.web.release.set()
        assert await process.stdout.readuntil(b"\n\n") == b"id: 2\ndata: second\n\n"
    finally:
        process.kill()
        await process.wait()
    assert await asyncio.to_thread(house.web.client_left.wait, 5)


@test
async def nghttp_gets_posts_and_asks_for_heads(house):
    async with no_fault(house):
        told = json.loads(await nghttp(house, "/web/tell"))
        assert (told["method"], told["target"]) == ("GET", "/web/tell")
        printed = await nghttp(house, "/web/tell", *FRAMES)
        assert "The negotiated protocol: h2" in printed
        assert ":status: 200" in fields(printed), printed
        # RFC 9113 8.2.2: nothing of HTTP/1.1's connections.
        own = {"connection", "transfer-encoding", "keep-alive"}
        assert not own & {field.partition(":")[0] for field in fields(printed)}, printed
        printed = await nghttp(house, "/web/tell", *FRAMES, "--header", ":method: HEAD")
        assert "content-length: 1234" in fields(printed)
        assert "recv HEADERS" in printed and "recv DATA" not in printed, printed


@test
async def a_body_passes_whatever_the_frames_it_comes_in(house):
    sent = os.urandom(100_000).hex()
    with written(sent) as file:
        # As it is; padded; its head in two frames; when 100 was not answered.
        for words in [[], ["--padding", "255"], ["--continuation"], ["--expect-continue"]]:
            async with no_fault(house):
                told = json.loads(await nghttp(house, "/web/post", "--data", file, *words))
                assert (told["method"], told["body"]) == ("POST", sent), words


@test
async def an_answer_obeys_a_window_of_fifteen_bytes(house):
    async with no_fault(house):
        narrow = ["--window-bits", "4"]
        assert json.loads(await nghttp(house, "/web/tell?narrow", *narrow))["target"] == "/web/tell?narrow"
        printed = await nghttp(house, "/web/tell", *FRAMES, *narrow)
        lengths = [int(length) for length in re.findall(r"recv DATA frame <length=(\d+)", printed)]
        assert max(lengths) <= 15 and sum(lengths) > 300, printed


@test
async def trailers_pass_both_ways(house):
    async with no_fault(house):
        assert await nghttp(house, "/web/trailers") == "worth the wait"
        head, _, end = (await nghttp(house, "/web/trailers", *FRAMES)).partition("recv DATA frame <length=14")
        assert ":status: 200" in fields(head) and "x-sum: 14" not in fields(head), head
        assert fields(end) == ["x-sum: 14"] and "; END_STREAM" in end, end
        with written("fourteen bytes") as file:
            words = ["--data", file, "--no-content-length", "--trailer", "x-sum: 14"]
            told = json.loads(await nghttp(house, "/web/post", *words))
            assert (told["body"], told["trailers"]) == ("fourteen bytes", [["x-sum", "14"]])


@test
async def many_streams_share_a_connection(house):
    async with no_fault(house), counted(house, "longhaul_connections_total", 1, listener="secure"):
        printed = await nghttp(house, "/web/tell", *FRAMES, "--multiply", "100")
        assert fields(printed).count(":status: 200") == 100
    async with no_fault(house), counted(house, "longhaul_connections_total", 3, listener="secure"):
        words = ["--requests", "600", "--clients", "3", "--max-concurrent-streams", "50"]
        status, printed = await run("h2load", *words, address(house, "/web/tell").replace("localhost", "127.0.0.1"))
        assert status == 0 and "600 succeeded, 0 failed, 0 errored, 0 timeout" in printed, printed
        assert "status codes: 600 2xx, 0 3xx, 0 4xx, 0 5xx" in printed, printed


@test
async def alpn_decides_between_the_versions(house):
    for listener, offered, agreed in [
        ("secure", "h2", "ALPN protocol: h2"),
        ("secure", "http/1.1,h2", "ALPN protocol: h2"),
        ("secure", "http/1.1", "ALPN protocol: http/1.1"),
        ("older", "h2,http/1.1", "ALPN protocol: http/1.1"),
    ]:
        status, said = await s_client(house, listener, "-alpn", offered)
        assert status == 0 and agreed in said, said
    for listener, offered in [("secure", "spdy/3"), ("older", "h2")]:
        async with counted(house, "longhaul_tls_handshakes_total", 1, listener=listener, result="failed"):
            status, said = await s_client(house, listener, "-alpn", offered)
            assert status != 0 and "alert number 120" in said, said
    for listener, words, version in [
        ("secure", ["--http2"], "2"),
        ("secure", ["--http1.1"], "1.1"),
        ("secure", ["--no-alpn"], "1.1"),
        ("older", ["--http2"], "1.1"),
    ]:
        answered = await curl(house, *words, address(house, "/web/tell", listener))
        assert answered[:2] == [version, "200"], answered


@test
async def http_2_without_alpn_is_refused_and_counted(house):
    name, labels = "longhaul_connection_errors_total", {"reason": "http2_preface"}
    requests = await house.longhaul.metric("longhaul_requests_total")
    async with counted(house, name, 1, listener="plain", **labels):
        status = await curl(house, "--http2-prior-knowledge", address(house, "/web/tell", "plain"))
        assert isinstance(status, int), status
    async with counted(house, name, 1, listener="secure", **labels):
        await s_client(house, "secure", "-quiet", said=PREFACE)
    assert await house.longhaul.metric("longhaul_requests_total") == requests
    # Who only asks whether it might (h2c by Upgrade, of RFC 7540) is answered in HTTP/1.1.
    version, status, body = await curl(house, "--http2", address(house, "/web/tell", "plain"))
    seen = dict(json.loads(body)["fields"])
    assert (version, status) == ("1.1", "200")
    assert not {"upgrade", "http2-settings", "connection"} & seen.keys(), seen
