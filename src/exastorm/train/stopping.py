"""Being asked to stop: a signal makes training end after the step under way, saved, not in it.

Schedulers send SIGTERM some time before they kill (Slurm also SIGUSR1, by `--signal=USR1@120`), and
the user at a terminal sends SIGINT with Ctrl-C.
"""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that ask training to stop."""

STDERR = 2


class StopRequest:
    """Whether a signal has asked to stop, as a context manager.

    Signals that the process was started to ignore, as under `nohup`, stay ignored. Only the main
    thread can catch signals; elsewhere nothing is caught.

    Attributes:
        requested: Name of the first signal that came, as "SIGTERM"; None before.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._interrupted = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    self._before[number] = signal.SIG_DFL if before is None else before
                    signal.signal(number, self._heed)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _heed(self, number: int, frame: FrameType | None) -> None:
        """Note the request; a second Ctrl-C stops at once.

        Raises:
            KeyboardInterrupt: On the second SIGINT.
        """
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = self._interrupted or number == signal.SIGINT
        if self.requested is None:
            self.requested = signal.Signals(number).name
            insist = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            text = f"exastorm: {self.requested}: stops after this step and saves{insist}\n"
            # Straight to the file: sys.stderr may be in the middle of a write. It may be gone.
            with contextlib.suppress(OSError):
                os.write(STDERR, text.encode())
