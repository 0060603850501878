"""Finds extreme weather in climate data: label, train, segment, count, draw.

The package reads left to right, as the data flows:
readers -> physics -> labels -> samples -> networks -> train -> predict -> storms -> report.
`exastorm.open` is the door in Python; the command `exastorm` is the door in the shell.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "open"]

if TYPE_CHECKING:
    from exastorm.readers.archives import open_archive as open  # noqa: A004


def __getattr__(name: str) -> Any:
    """Load the reader only when it is asked for, so that `import exastorm` stays light."""
    if name == "open":
        from exastorm.readers.archives import open_archive

        return open_archive
    raise AttributeError(f"module 'exastorm' has no attribute {name!r}")
