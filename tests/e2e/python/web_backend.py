"""A plain HTTP/1.1 server: tells what it was asked, streams events, answers late."""

import json
import threading
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_SECONDS_MAX = 10


class WebBackend(ThreadingHTTPServer):
    """`with WebBackend() as backend: ... backend.port`"""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.asked = threading.Event()
        self.release = threading.Event()
        self.client_left = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def __exit__(self, *reason):
        self.shutdown()
        self._thread.join()
        super().__exit__(*reason)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        acts = {"events": self.stream_events, "late": self.answer_late, "trailers": self.send_trailers}
        act = acts.get(self.path.rpartition("/")[2])
        (act or self.tell_request)()

    def do_POST(self):
        self.tell_request()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1234")
        self.end_headers()

    def tell_request(self):
        body, trailers = self.read_body()
        fields = [[name.lower(), value] for name, value in self.headers.items()]
        told = {"method": self.command, "target": self.path, "fields": fields}
        told |= {"body": body.decode("latin-1"), "trailers": trailers}
        self.send_text(200, "application/json", json.dumps(told).encode())

    def answer_late(self):
        self.server.asked.set()
        came = self.server.release.wait(WAIT_SECONDS_MAX)
        self.send_text(200 if came else 500, "text/plain", b"worth the wait")

    def send_trailers(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Sum")
        self.end_headers()
        self.send_chunk(b"worth the wait")
        self.wfile.write(b"0\r\nX-Sum: 14\r\n\r\n")

    def stream_events(self):
        """One event, then another when the test says so, then silence until the client leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        try:
            self.send_chunk(b"id: 1\ndata: first\n\n")
            if self.server.release.wait(WAIT_SECONDS_MAX):
                self.send_chunk(b"id: 2\ndata: second\n\n")
                self.connection.settimeout(WAIT_SECONDS_MAX)
                if self.connection.recv(1) == b"":
                    self.server.client_left.set()
        except ConnectionError:
            self.server.client_left.set()

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            trailers = parse_headers(self.rfile)
            return body, [[name.lower(), value] for name, value in trailers.items()]
        return self.rfile.read(int(self.headers.get("Content-Length", 0))), []

    def send_text(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Backend", "python")
        self.end_headers()
        self.wfile.write(body)

    def send_chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_):
        pass
