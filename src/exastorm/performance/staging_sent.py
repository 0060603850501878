"""How much the file store of a made-up cluster has sent; imported by its nodes too."""

from urllib.request import urlopen

from exastorm.performance.file_server import SENT

PATIENCE_S = 60.0


def sent_by_server(root: str) -> int:
    """Bytes of files that the server at a root has sent so far."""
    with urlopen(root.rstrip("/") + SENT, timeout=PATIENCE_S) as answer:
        return int(answer.read())
