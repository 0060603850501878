"""A web server that answers as a test wants it, and a source that reads from anywhere."""

import hashlib
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.source import Source

CONTENT = bytes(range(256)) * 3000
SIZE, SHA256 = 768_000, hashlib.sha256(CONTENT).hexdigest()
NAME = "part/a b+%.bin"
QUOTED = "/store/part/a%20b%2B%25.bin"


class Request(BaseHTTPRequestHandler):
    """Answers as the test wants it: the next of `server.acts`, then the file."""

    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.server.heads += 1
        self.head(self.server.root_status, 0)

    def do_GET(self):
        self.server.asked.append(self.path)
        act = self.server.acts.pop(0) if self.server.acts else whole
        act(self)

    def head(self, status, size, **more):
        self.send_response(status)
        if size is not None:
            self.send_header("Content-Length", str(size))
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()


def whole(request):
    request.head(200, SIZE)
    request.wfile.write(CONTENT)


def cut(request):
    request.head(200, SIZE)
    request.wfile.write(CONTENT[:5000])


def status(code):
    return lambda request: request.head(code, 0)


def sized(size, content=CONTENT):
    """Another Content-Length than the content has."""

    def act(request):
        request.head(200, size)
        request.wfile.write(content)

    return act


def chunked(content, end=b"0\r\n\r\n"):
    def act(request):
        request.protocol_version = "HTTP/1.1"
        request.head(200, None, **{"Transfer-Encoding": "chunked", "Connection": "close"})
        request.wfile.write(b"%x\r\n%s\r\n" % (len(content), content) + end)
        request.close_connection = True

    return act


def moved(request):
    request.head(302, 0, Location=QUOTED)


def slow(request):
    """Little at a time, over longer than patience lasts; never silent for long."""
    request.head(200, SIZE)
    for start in range(0, SIZE, SIZE // 6):
        request.wfile.write(CONTENT[start : start + SIZE // 6])
        request.wfile.flush()
        time.sleep(0.1)


def silent(request):
    request.head(200, SIZE)
    request.server.over.wait(5)


@contextmanager
def web_server(*acts, port=0, root_status=200):
    server = ThreadingHTTPServer(("127.0.0.1", port), Request)
    server.acts, server.asked, server.heads = list(acts), [], 0
    server.root_status, server.over = root_status, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/store"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Reader:
    """A source at a root, and what it told."""

    def __init__(self, root, folder, patience_s):
        self.local = LocalStore(folder / "local", "print")
        self.local.check_writable()
        self.num_bytes, self.waits = 0, []
        self.source = Source(
            root, self.local, patience_s, None, self.count, self.waits.append, lambda: None
        )

    def count(self, num_bytes):
        self.num_bytes += num_bytes

    def stage(self, name=NAME, size=SIZE, sha256=SHA256):
        self.source.stage(StagedFile(name, size, sha256), "t")
        assert self.local.path(name).read_bytes() == CONTENT
