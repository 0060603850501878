"""Bring each file of a manifest to the nodes that need it, reading it from the shared store once.

One rank of each node, its first, does the work; the others wait for it. First all nodes say what
they have, so that nothing is read that is there; before the first byte, each makes sure that all it
lacks will fit. Then each reads its part and fetches the rest from others (`gathering.py`), and
serves what it has until all nodes have all they need. What goes wrong on one node ends staging on
all, with the same line.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace

from exastorm.errors import ExchangeError, InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.staging.claims import ASKED_PER_S, Board
from exastorm.parallel.staging.ending import Ending, error_of
from exastorm.parallel.staging.figures import NodeFigures, StagingFigures, total_of
from exastorm.parallel.staging.gathering import Gathering
from exastorm.parallel.staging.ledger import LEDGER_NAME, Entry, Ledger
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.manifest import Manifest
from exastorm.parallel.staging.owners import plan_staging
from exastorm.parallel.staging.reading import Readers
from exastorm.parallel.staging.serving import FileServer
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.source import Converter
from exastorm.parallel.staging.staged import Staged
from exastorm.parallel.staging.view import View, figures_to_tell
from exastorm.parallel.watch import tell
from exastorm.progress import ProgressBar

LAST_WORDS_S = 5.0
"""How long nodes wait, after a failure, for all to hear of it: the first rank has the store."""


MOST_NAMED = 5
"""Corrupt files that are named with what is wrong with them."""


def stage(
    cluster: Cluster,
    manifest: Manifest,
    settings: StageSettings,
    converter: Converter | None = None,
) -> Staged:
    """Bring files to the nodes of a cluster; all ranks call it, and it ends on all alike.

    Args:
        cluster: All ranks.
        manifest: The files; the same on all ranks.
        settings: Where to, which, and how; the same on all ranks but for the folder.
        converter: Changes files on the way.

    Raises:
        InputError: If a folder can't be written or has no room, a file can't be read, or is corrupt
            and `on_corrupt` is stop: on all ranks, with the same line.
        ExchangeError: If a node is lost, or the store of all ranks.
    """
    if settings.folder is None:
        raise InputError("folder must say where to stage to, got None")
    place = cluster.unique("staging")
    local = LocalStore(settings.folder, manifest.fingerprint, manifest.origins)
    if not cluster.world.is_leader:
        return _follow(cluster, place, local, settings.keep)
    stager = _Stager(cluster, place, manifest, settings, converter, local)
    try:
        staged = stager.run()
    except BaseException as error:
        local.close()
        told = stager.fail(error)
        if told is None:
            raise
        raise told from error
    return staged


def _follow(cluster: Cluster, place: str, local: LocalStore, keep: bool) -> Staged:
    """Wait for the first rank of this node."""
    end = Ending(cluster, place).wait()
    node, total = (NodeFigures(**end[name]) for name in ("node", "total"))
    noted = Ledger(local.root.parent / LEDGER_NAME).read()[1]
    return Staged(
        folder=local.root,
        entries={n: line.entry for n, line in noted.items() if n not in end["left_out"]},
        left_out=tuple(end["left_out"]),
        repaired=tuple(end["repaired"]),
        figures=StagingFigures(node=node, total=total),
        cluster=cluster,
        local=local,
        place=place,
        keep=keep,
    )


class _Stager:
    """The first rank of a node."""

    def __init__(
        self,
        cluster: Cluster,
        place: str,
        manifest: Manifest,
        settings: StageSettings,
        converter: Converter | None,
        local: LocalStore,
    ) -> None:
        self._cluster, self._place, self._manifest = cluster, place, manifest
        self._settings, self._converter, self._local = settings, converter, local
        world = cluster.world
        self._plan = plan_staging(
            manifest.files, world.num_nodes, settings.mode, settings.samples_per_node, settings.seed
        )
        self._ending = Ending(cluster, place)
        self._board = Board(cluster.store, place, world.node, world.num_nodes)
        self._view = View(manifest.files, self._plan)
        self._work = Gathering(
            manifest, self._plan, world.node, settings, local, self._board, self._view
        )
        self._lost_after_s = max(settings.patience_s, 4 * self._work.beat_s)
        self._repaired: tuple[str, ...] = ()
        plan = f"{settings.mode} {settings.samples_per_node} {settings.seed}"
        self._same = f"{manifest.fingerprint} {plan} {settings.on_corrupt}"

    def run(self) -> Staged:
        """Stage, to the end."""
        cluster, settings = self._cluster, self._settings
        self._local.check_writable(file.name for file in self._manifest.files)
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(settings.num_transfers, "fetch"))
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            stack.callback(self._work.cancel)
            present = self._present(pool)
            server = None
            if cluster.world.num_nodes > 1:
                server = FileServer(self._local, cluster.host, settings.patience_s)
                stack.enter_context(server)
            self._work.greet(present, self._same, server)
            self._until(lambda: self._view.all_said_hello)
            self._check_same()
            if self._work.others_may_have_what_is_lacking:
                self._work.offer()
                self._until(lambda: self._view.all_ready)
            self._view.begin()
            readers = stack.enter_context(
                Readers(self._manifest, self._local, settings, self._converter)
            )
            self._gather(readers, pool)
        return self._tell_end(0 if server is None else server.sent_bytes)

    def _present(self, pool: ThreadPoolExecutor) -> dict[str, Entry]:
        """What is there and needed, verified; makes sure that the rest will fit."""
        verifying: Future[tuple[dict[str, Entry], tuple[str, ...]]]
        verifying = pool.submit(self._local.recover, self._work.check_wanted)
        # It may take minutes, in which the others must hear that this node is there.
        self._until(verifying.done)
        kept = self._plan.of_node(self._cluster.world.node).tolist()
        needed = {self._manifest.files[index].name: index for index in kept}
        found, self._repaired = verifying.result()
        present = {name: entry for name, entry in found.items() if name in needed}
        self._local.drop(found.keys() - present.keys())  # Of another mode, or other nodes.
        lacking = [self._manifest.files[i] for name, i in needed.items() if name not in present]
        convert = self._converter
        size = sum(f.num_bytes if convert is None else convert.num_bytes(f) for f in lacking)
        self._local.require_space(size)
        return present

    def _until(self, happened: Callable[[], bool]) -> None:
        """Hear the others until something happens.

        Raises:
            ExchangeError: If a node is lost.
            InputError: If another node has failed.
        """
        while not happened():
            self._hear()
            time.sleep(min(0.01, self._board.look_every_s))

    def _hear(self, *, at_once: bool = False) -> None:
        """Take in what nodes tell."""
        self._work.hear(at_once=at_once)
        if self._view.failure is not None:
            raise error_of(self._view.failure)
        lost = self._view.silent_node(self._lost_after_s)
        if lost is not None and self._cluster.world.num_nodes > 1:
            raise ExchangeError(
                f"node {lost} (rank {self._cluster.world.ranks_of(lost)[0]}) said nothing for "
                f"{self._lost_after_s:g} s while files were staged"
            )

    def _check_same(self) -> None:
        """Make sure that all nodes stage the same.

        Raises:
            InputError: If they don't.
        """
        first = self._view.peers[0].fingerprint
        for node, peer in enumerate(self._view.peers):
            if peer.fingerprint != first:
                raise InputError(
                    "all nodes must stage the same files with the same settings, but those of "
                    f"node {node} are not those of node 0"
                )

    def _gather(self, readers: Readers, pool: ThreadPoolExecutor) -> None:
        """Turn by turn, until all nodes have all they need."""
        num_files = len(self._plan.of_node(self._cluster.world.node))
        start = time.monotonic()
        with ProgressBar("stage", num_files, shown=self._cluster.world.is_first) as bar:
            bar.advance(len(self._work.entries))
            while not self._view.all_done:
                num_more = self._work.turn(readers, pool)
                self._hear()
                seconds = max(time.monotonic() - start, 1e-3)
                here, everywhere = (
                    num_bytes / seconds / 1e9
                    for num_bytes in (self._work.come_bytes, self._view.come_bytes)
                )
                bar.advance(num_more, f"{here:.2f} GB/s, all nodes {everywhere:.2f} GB/s")

    def _tell_end(self, sent_bytes: int) -> Staged:
        """What was staged; tells the other ranks of this node."""
        files, view = self._manifest.files, self._view
        left_out = tuple(sorted(files[index].name for index in view.left_out))
        nodes = [peer.figures for peer in view.peers if peer.figures is not None]
        node = self._cluster.world.node
        # A node that is done still sends: what all have sent is known by what has arrived.
        if left_out and self._cluster.world.is_first:
            why = [f"{files[index].name} {line}" for index, line in sorted(view.left_out.items())]
            shown = "; ".join(why[:MOST_NAMED] + ["..."] * (len(why) > MOST_NAMED))
            tell(f"{len(why)} of {len(files)} files are corrupt and left out: {shown}")
        own, total = replace(nodes[node], sent_bytes=sent_bytes), total_of(nodes)
        figures = StagingFigures(node=own, total=replace(total, sent_bytes=total.received_bytes))
        result = {
            "node": figures_to_tell(figures.node),
            "total": figures_to_tell(figures.total),
            "left_out": left_out,
            "repaired": self._repaired,
        }
        self._ending.tell(node, result)
        return Staged(
            folder=self._local.root,
            entries={
                files[index].name: entry
                for index, entry in sorted(self._work.entries.items())
                if index not in view.left_out
            },
            left_out=left_out,
            repaired=self._repaired,
            figures=figures,
            cluster=self._cluster,
            local=self._local,
            place=self._place,
            keep=self._settings.keep,
        )

    def fail(self, error: BaseException) -> Exception | None:
        """Tell all ranks that staging fails, and hear why, as all do.

        Returns:
            What this rank raises; None for the error itself.
        """
        failure = self._ending.failure_of(error)
        world = self._cluster.world
        patience_s = max(LAST_WORDS_S, 3 * world.num_ranks / ASKED_PER_S)
        deadline = time.monotonic() + patience_s
        with suppress(ExchangeError):
            if self._view.failure is None:
                self._board.write({"failure": asdict(failure)})
            while self._view.failure is None and time.monotonic() < deadline:
                self._work.hear()
                time.sleep(0.01)
            failure = self._view.failure or failure
            lost = [
                n for n in range(world.num_nodes) if self._view.is_silent(n, self._lost_after_s)
            ]
            for node in {world.node, *lost}:
                self._ending.tell(node, {"failure": asdict(failure)})
            self._ending.hear()
            # The store goes with the first rank, which may end now.
            while (
                world.is_first
                and not self._ending.all_heard(len(lost))
                and time.monotonic() < deadline
            ):
                self._work.hear()
                time.sleep(0.02)
        is_own = str(error) == failure.line or not isinstance(
            error, InputError | ExchangeError | OSError
        )
        return None if is_own else error_of(failure)


__all__ = ["Staged", "stage"]
