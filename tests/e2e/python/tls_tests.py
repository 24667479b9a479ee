"""TLS towards `openssl s_client` and `curl`: certificates by name and kind, those of clients, versions, resumption."""

import asyncio
import base64
import json
import os
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from command import SECONDS_MAX, run
from runner import test

# In the handshake; behind it, while it sends or reads, as a TLS 1.3 client is done before its certificate is seen; for
# want of one.
CURL_TLS_ERRORS = (35, 55, 56, 98)
NAME = "chat.example.com"
REQUEST = f"GET /web/tell HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode()

LISTENERS = """
[[listeners]]
name = "names"
address = "127.0.0.1:0"
[listeners.tls]
certificates = [
    { cert = "@pki@/ec.pem", key = "@pki@/ec.key" },
    { cert = "@pki@/rsa.pem", key = "@pki@/rsa.key" },
    { cert = "@pki@/any.pem", key = "@pki@/any.key" },
]
unknown_name = "refuse"
ticket_keys = "@pki@/tickets.keys"

[[listeners]]
name = "clients"
address = "127.0.0.1:0"
[listeners.tls]
certificates = [{ cert = "@pki@/ec.pem", key = "@pki@/ec.key" }]
client_certificates = { ca = "@pki@/ca.pem", crl = "@pki@/ca.crl" }
ticket_keys = "@pki@/tickets.keys"

[[listeners]]
name = "narrow"
address = "127.0.0.1:0"
[listeners.tls]
certificates = [{ cert = "@pki@/ec.pem", key = "@pki@/ec.key" }]
ciphers = ["TLS13_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
"""

AUTHORITY = """
[ca]
default_ca = house
[house]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 2
"""


class Pki:
    """An authority in a folder, and what it has signed."""

    def __init__(self, folder):
        self.folder = folder
        openssl(folder, "req", "-x509", *self._key("ec"), "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=house",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
        self.sign("ec", "ec", f"DNS:{NAME}")
        self.sign("rsa", "rsa", f"DNS:{NAME}")
        self.sign("any", "ec", "DNS:*.example.com")
        self.sign("alice", "ec", "DNS:alice.example,URI:spiffe://house/alice")
        self.sign("mallory", "ec", "DNS:mallory.example")
        (folder / "authority.cnf").write_text(AUTHORITY)
        (folder / "index.txt").write_text("")
        (folder / "crlnumber").write_text("01\n")
        authority = ["-config", "authority.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"]
        openssl(folder, "ca", *authority, "-revoke", "mallory.pem")
        openssl(folder, "ca", *authority, "-gencrl", "-out", "ca.crl")
        (folder / "tickets.keys").write_bytes(base64.b64encode(os.urandom(48)) + b"\n")

    def sign(self, file, kind, names):
        """Makes `file`.pem and `file`.key."""
        openssl(self.folder, "req", "-new", *self._key(kind), "-keyout", f"{file}.key", "-out", f"{file}.csr",
                "-subj", f"/O=House/CN={file}", "-addext", f"subjectAltName={names}")  # fmt: skip
        openssl(self.folder, "x509", "-req", "-in", f"{file}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", f"{file}.pem")  # fmt: skip

    def listeners(self):
        return LISTENERS.replace("@pki@", str(self.folder))

    @staticmethod
    def _key(kind):
        kinds = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}
        return ["-newkey", *kinds[kind], "-nodes"]


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=SECONDS_MAX)


@asynccontextmanager
async def opened(workshop):
    """A longhaul with the listeners above, and their authority."""
    with tempfile.TemporaryDirectory(prefix="longhaul-e2e-") as folder:
        pki = await asyncio.to_thread(Pki, Path(folder))
        async with workshop.open(pki.listeners()) as house:
            yield house.longhaul, pki


async def s_client(longhaul, pki, listener, *words, name=NAME):
    """Sends a request with `openssl s_client`, which stays until the answer has ended."""
    address = f"127.0.0.1:{longhaul.port(listener)}"
    asked = ["-servername", name] if name else ["-noservername"]
    return await run("openssl", "s_client", "-connect", address, "-CAfile", "ca.pem", "-ign_eof",
                     "-verify_return_error", *asked, *words, folder=pki.folder, said=REQUEST)  # fmt: skip


async def curl(longhaul, pki, listener, *words):
    """Asks for the backend's view of the request; its fields, or curl's exit status."""
    port = longhaul.port(listener)
    status, printed = await run(
        "curl", "--silent", "--noproxy", "*", "--cacert", "ca.pem", "--max-time", str(SECONDS_MAX),
        "--resolve", f"{NAME}:{port}:127.0.0.1", f"https://{NAME}:{port}/web/tell", *words, folder=pki.folder,
    )  # fmt: skip
    return dict(json.loads(printed)["fields"]) if status == 0 else status


@test
async def certificates_are_chosen_by_name_and_by_kind(workshop):
    async with opened(workshop) as (longhaul, pki):
        for version in ["-tls1_2", "-tls1_3"]:
            for name, schemes, subject in [
                (NAME, "ECDSA+SHA256:RSA-PSS+SHA256", "CN = ec"),
                (NAME, "RSA-PSS+SHA256", "CN = rsa"),
                ("other.example.com", "ECDSA+SHA256:RSA-PSS+SHA256", "CN = any"),
                (None, "RSA-PSS+SHA256", "CN = rsa"),
            ]:
                status, said = await s_client(longhaul, pki, "names", version, "-sigalgs", schemes, name=name)
                assert status == 0 and f"subject=O = House, {subject}\n" in said, said
            status, said = await s_client(longhaul, pki, "names", version, name="example.org")
            assert status != 0 and "alert number 112" in said, said
        await longhaul.metric_becomes(2, "longhaul_tls_handshakes_total", listener="names", result="unknown_name")


@test
async def a_certificate_of_a_client_reaches_the_backend(workshop):
    async with opened(workshop) as (longhaul, pki):
        forged = ["--header", "X-Client-Certificate-Subject: CN=admin", "--header", "x_client_certificate_names: a"]
        own = ["--cert", "alice.pem", "--key", "alice.key"]
        for version in ["1.2", "1.3"]:
            only = [f"--tlsv{version}", "--tls-max", version]
            fields = await curl(longhaul, pki, "clients", *own, *forged, *only)
            assert fields["x-client-certificate-subject"] == "CN=alice,O=House", fields
            assert fields["x-client-certificate-names"] == "DNS:alice.example, URI:spiffe://house/alice", fields
            assert "x_client_certificate_names" not in fields, fields
            fields = await curl(longhaul, pki, "names", *own, *forged, *only)
            assert not any("certificate" in name for name in fields), fields
            for refused in [[], ["--cert", "mallory.pem", "--key", "mallory.key"]]:
                status = await curl(longhaul, pki, "clients", *refused, *only)
                assert status in CURL_TLS_ERRORS, status
        name = "longhaul_tls_handshakes_total"
        await longhaul.metric_becomes(4, name, listener="clients", result="client_certificate")


@test
async def versions_and_ciphers_are_those_of_the_configuration(workshop):
    async with opened(workshop) as (longhaul, pki):
        for words, agreed in [
            (["-tls1_3"], "Cipher is TLS_AES_128_GCM_SHA256"),
            (["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], None),
            (["-tls1_2"], "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256"),
            (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], None),
            (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], None),
        ]:
            status, said = await s_client(longhaul, pki, "narrow", *words)
            assert (status == 0) == (agreed is not None), said
            assert (agreed or "Cipher is (NONE)") in said, said


@test
async def sessions_are_resumed_by_another_process_that_asks_for_the_same(workshop):
    async with opened(workshop) as (first, pki), workshop.open(pki.listeners()) as house:
        for version in ["-tls1_2", "-tls1_3"]:
            own = [version, "-cert", "alice.pem", "-key", "alice.key"]
            for listener, elsewhere in [("names", "clients"), ("clients", "names")]:
                keep, use = ["-sess_out", f"{listener}{version}"], ["-sess_in", f"{listener}{version}"]
                for longhaul, where, words, begins in [
                    (first, listener, keep, "New, TLS"),
                    (house.longhaul, listener, use, "Reused, TLS"),
                    (house.longhaul, elsewhere, use, "New, TLS"),
                ]:
                    status, said = await s_client(longhaul, pki, where, *own, *words)
                    assert status == 0 and begins in said and "200 OK" in said, said
