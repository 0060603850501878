"""One node's part in staging: it reads what is its own to read, and fetches the rest from others.

Each turn takes in what has come, hands out new work, and tells the others.

A file that does not arrive as announced is fetched again, then from other nodes that should have
it; then it is read from the shared store. Only where that fails too, staging does.
"""

import random
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from exastorm.errors import InputError
from exastorm.parallel.staging.claims import Board, Page
from exastorm.parallel.staging.duties import Duties
from exastorm.parallel.staging.fetching import TransferError, fetch
from exastorm.parallel.staging.figures import NodeFigures
from exastorm.parallel.staging.ledger import Entry
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.manifest import Manifest
from exastorm.parallel.staging.owners import StagingPlan
from exastorm.parallel.staging.reading import Read, Readers
from exastorm.parallel.staging.serving import FileServer
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.view import View, figures_to_tell

FROM_SOURCES, FROM_OTHERS = 2, 2
"""How often a file is fetched from nodes that announced it, and then from others that should have
it, before it is read from the shared store. A byte that flips on the way does so once."""

TURN_S = 0.01
"""Longest wait within a turn, where both readers and transfers may be done any moment."""


class Gathering:
    """What this node still needs, and what is under way. Used by one thread.

    Attributes:
        entries: What this node has, by file.
        figures: What it has moved so far.
        is_done: Whether it has all it needs, and has said so.
    """

    def __init__(
        self,
        manifest: Manifest,
        plan: StagingPlan,
        node: int,
        settings: StageSettings,
        local: LocalStore,
        board: Board,
        view: View,
    ) -> None:
        """Have nothing, and have begun nothing.

        Args:
            manifest: All files.
            plan: Who reads and who keeps what.
            node: This one.
            settings: How to stage.
            local: Where files go.
            board: Where nodes tell one another.
            view: What is known of them; takes in what is heard.
        """
        files = manifest.files
        self._root = manifest.root.rstrip("/")
        self._files, self._plan, self._node = files, plan, node
        self._settings, self._local, self._board, self._view = settings, local, board, view
        self.entries: dict[int, Entry] = {}
        self.figures, self.is_done = NodeFigures(), False
        self._needed = set(plan.of_node(node).tolist())
        self._index = {file.name: index for index, file in enumerate(files)}
        self._random = random.Random(f"{settings.seed}/{node}")
        self._duties = Duties(files, node, settings.steal_after_s, board, view, self._needed)
        self._to_fetch: list[int] = []
        self._reading: set[int] = set()
        self._fetching: dict[Future[Entry], int] = {}
        self._last_resort: set[int] = set()
        self._num_failed: Counter[int] = Counter()
        self._news: Page = {}
        self._is_over = threading.Event()
        self._start = time.monotonic()
        self.beat_s = max(board.write_every_s, min(settings.steal_after_s, settings.patience_s) / 4)
        self._told_at = self._start

    def greet(self, present: dict[str, Entry], fingerprint: str, server: FileServer | None) -> None:
        """Say what this node has, and how it is reached."""
        for name, entry in present.items():
            self._keep(self._index[name], entry)
        num_bytes = sum(entry.num_bytes for entry in present.values())
        self.figures = replace(self.figures, present_bytes=num_bytes)
        own = self._plan.read_by(self._node).tolist()
        num_lacking = self._duties.take_on(file for file in own if file not in self.entries)
        self._announce([file for file in own if file in self.entries])
        hello = {
            "address": None if server is None else server.address,
            "token": "" if server is None else server.token,
            "fingerprint": fingerprint,
            "num_lacking": num_lacking,
            "num_present": len(present),
        }
        self._write({"hello": hello})

    @property
    def others_may_have_what_is_lacking(self) -> bool:
        """Whether a file that its reader lacks may lie with others; the same on all nodes."""
        lacking = any(peer.num_lacking for peer in self._view.peers)
        return lacking and any(peer.num_present for peer in self._view.peers)

    def offer(self) -> None:
        """Say what this node has that the node which is to read it lacks."""
        for file in sorted(self.entries.keys() - self._view.announced.keys()):
            # Of many that have it one says so: that much is enough to fetch it.
            if self._duties.claim(file):
                self._announce([file])
        self._write({"ready": True})

    @property
    def come_bytes(self) -> int:
        """What has been read and received so far."""
        return self.figures.read_bytes + self.figures.received_bytes

    def hear(self, *, at_once: bool = False) -> None:
        """Take in what nodes have told, and tell that this one is there."""
        new = self._view.take(self._board.hear(at_once=at_once))
        self._to_fetch.extend(new)
        self._needed.difference_update(self._view.left_out)
        if time.monotonic() - self._told_at >= self.beat_s:
            self._write({})

    def turn(self, readers: Readers, pool: ThreadPoolExecutor) -> int:
        """Take in what has come, hand out new work, and tell; how many files came.

        Raises:
            InputError: If a file can't be read, or kept.
            ExchangeError: If the store is gone.
        """
        num_before = len(self.entries)
        self._take_reads(readers)
        self.figures = replace(self.figures, read_bytes=readers.source_bytes)
        self._take_fetched(readers)
        if not self.is_done:
            self._read_more(readers)
            self._fetch_more(pool)
        is_last = self._duties.is_over and not self._reading
        if self._news and (is_last or self._board.may_write):
            self._write({})
        if not (self.is_done or self._needed or self._reading or self._fetching):
            self.is_done = True
            seconds = time.monotonic() - self._start
            self.figures = replace(self.figures, seconds=seconds)
            self._write({"done": figures_to_tell(self.figures)})
        return len(self.entries) - num_before

    def _take_reads(self, readers: Readers) -> None:
        """Take in what the readers have read; waits a moment for it if there is nothing else."""
        for file in [file for file in self._reading if file in self._view.announced]:
            # Another node was faster with what this one was stuck with.
            if file not in self._last_resort and readers.cancel(self._files[file].name):
                self._reading.discard(file)
                self._to_fetch.append(file)
        if not self._reading:
            return
        read = readers.next_done(TURN_S)
        while read is not None:
            self._take_read(read)
            read = readers.next_done(0.0) if self._reading else None

    def _take_read(self, read: Read) -> None:
        """Take in one file that was read, or why it can't be.

        Raises:
            InputError: If it can't be, and no other node has it.
        """
        file = self._index[read.file.name]
        self._reading.discard(file)
        if read.entry is not None:
            self._keep(file, read.entry)
            self._announce([file])
        elif file in self._view.announced and file not in self._last_resort:
            self._to_fetch.append(file)
        elif read.is_corrupt and self._settings.on_corrupt == "skip":
            self._needed.discard(file)
            self._news.setdefault("corrupt", []).append((file, read.problem))
        else:
            raise InputError(str(read.problem), file=f"{self._root}/{read.file.name}")

    def _take_fetched(self, readers: Readers) -> None:
        """Take in what has come from other nodes; waits a moment if nothing is being read."""
        if not self._reading:
            if self._fetching:
                wait(self._fetching, TURN_S, FIRST_COMPLETED)
            else:
                time.sleep(TURN_S)
        for future in [future for future in self._fetching if future.done()]:
            file = self._fetching.pop(future)
            try:
                entry = future.result()
            except TransferError:
                self._fetch_again(file, readers)
            else:
                self._keep(file, entry)
                received = self.figures.received_bytes + entry.num_bytes
                self.figures = replace(self.figures, received_bytes=received)

    def _fetch_again(self, file: int, readers: Readers) -> None:
        """Ask for a file again, or read it here."""
        self._num_failed[file] += 1
        self.figures = replace(self.figures, num_again=self.figures.num_again + 1)
        if self._source_of(file) is not None:
            self._to_fetch.append(file)
        else:
            self._last_resort.add(file)
            self._submit(file, readers)

    def _source_of(self, file: int) -> int | None:
        """The node to fetch a file from next; None if it should be read here."""
        failed, sources = self._num_failed[file], self._view.sources[file]
        if failed < FROM_SOURCES:
            return sources[(failed + self._node) % len(sources)]
        others = [n for n in self._plan.holders[file] if n != self._node and n not in sources]
        if others and failed < FROM_SOURCES + FROM_OTHERS:
            return self._random.choice(others)
        return None

    def _fetch_more(self, pool: ThreadPoolExecutor) -> None:
        """Fetch what others have: one for each transfer, and one that waits its turn."""
        while self._to_fetch and len(self._fetching) < 2 * self._settings.num_transfers:
            # In random order, so that nodes don't all ask the same node at once.
            place = self._random.randrange(len(self._to_fetch))
            self._to_fetch[place], self._to_fetch[-1] = self._to_fetch[-1], self._to_fetch[place]
            file = self._to_fetch.pop()
            is_coming = file in self._reading or file in self._fetching.values()
            if file in self._needed and not is_coming:
                source = self._source_of(file)
                assert source is not None
                self._fetching[pool.submit(self._fetch, file, source)] = file

    def _fetch(self, file: int, source: int) -> Entry:
        """On a thread of the pool: fetch a file from a node."""
        peer, expected = self._view.peers[source], self._view.announced[file]
        if peer.address is None:
            raise TransferError(f"node {source} serves no files")
        with self._local.begin(expected.name, expected.num_bytes) as partial:
            patience_s, is_over = self._settings.patience_s, self._is_over.is_set
            return fetch(peer.address, peer.token, expected, partial, patience_s, is_over)

    def cancel(self) -> None:
        """End transfers that are under way."""
        self._is_over.set()

    def check_wanted(self, _num_bytes: int = 0) -> None:
        """End what a thread of the pool does, by an error, once nobody waits for it."""
        if self._is_over.is_set():
            raise TransferError("nobody waits for it")

    def _read_more(self, readers: Readers) -> None:
        """Read what is this node's to read, then what others have not begun."""
        # One more for each four than can be read at once, so that none waits for this turn.
        most = self._settings.num_readers + -(-self._settings.num_readers // 4)
        for file in self._duties.own(most - len(self._reading)):
            self._submit(file, readers)
        if len(self._reading) < self._settings.num_readers:
            under_way = self._reading | set(self._fetching.values())
            for file in self._duties.stolen(under_way):
                self._news.setdefault("took", []).append(file)
                self.figures = replace(self.figures, num_stolen=self.figures.num_stolen + 1)
                self._submit(file, readers)

    def _submit(self, file: int, readers: Readers) -> None:
        """Have a file read."""
        readers.submit(self._files[file])
        self._reading.add(file)

    def _keep(self, file: int, entry: Entry) -> None:
        """Count a file as there."""
        self.entries[file] = entry
        self._needed.discard(file)

    def _announce(self, files: list[int]) -> None:
        """Tell, with the next page, that files can be had here."""
        entries = [(file, self.entries[file]) for file in files]
        told = [(file, entry.crc32c, entry.num_bytes) for file, entry in entries]
        if told:
            self._news.setdefault("has", []).extend(told)

    def _write(self, page: Page) -> None:
        """Write a page with all news."""
        numbers = {"read": self.figures.read_bytes, "come": self.come_bytes}
        self._board.write(numbers | self._news | page)
        self._news, self._told_at = {}, time.monotonic()


__all__ = ["Gathering"]
