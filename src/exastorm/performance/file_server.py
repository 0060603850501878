"""A shared file store of a made-up cluster: files of a folder over HTTP, on a node of its own.

    python -m exastorm.performance.file_server FOLDER HOST PORT

Its node's link is what limits it, as the network before a parallel file system does. What it has
sent of files is asked for under `/sent`, so that it is known how often each byte was read.
"""

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

SENT = "/sent"


class FileServer(ThreadingHTTPServer):
    """Serves the files of a folder, and counts.

    Attributes:
        folder: The folder.
        sent_bytes: Bytes of files sent so far.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, address: tuple[str, int]) -> None:
        self.folder = folder.resolve()
        self.sent_bytes = 0
        self._lock = threading.Lock()
        super().__init__(address, _Request)

    def count(self, num_bytes: int) -> None:
        """Count bytes of a file."""
        with self._lock:
            self.sent_bytes += num_bytes


class _Request(BaseHTTPRequestHandler):
    """One request for a file."""

    server: FileServer

    def do_HEAD(self) -> None:
        """Whether a file is there."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """A file, or how much was sent."""
        self._answer(with_body=True)

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""

    def _answer(self, *, with_body: bool) -> None:
        if self.path == SENT:
            self._head(200, len(text := str(self.server.sent_bytes).encode()))
            self.wfile.write(text)
            return
        path = (self.server.folder / unquote(self.path).lstrip("/")).resolve()
        if not path.is_relative_to(self.server.folder) or not path.exists():
            self.send_error(404)
            return
        if path.is_dir():
            self._head(200, 0)
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._head(200, size)
            if with_body:
                self.wfile.flush()
                self.server.count(self.connection.sendfile(file))

    def _head(self, status: int, num_bytes: int) -> None:
        """What goes before the bytes."""
        self.send_response(status)
        self.send_header("Content-Length", str(num_bytes))
        self.end_headers()


def main(folder: str, host: str, port: str) -> None:
    """Serve until killed."""
    with FileServer(Path(folder), (host, int(port))) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
