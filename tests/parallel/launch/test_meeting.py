"""How ranks find one another: here the ranks are threads, which share nothing but the store."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.parallel.made_ports import free_ports

from exastorm.errors import InputError
from exastorm.parallel.launch import meeting
from exastorm.parallel.launch.cards import Card
from exastorm.parallel.launch.launchers import Launch
from exastorm.parallel.launch.meeting import leave, meet, open_store
from exastorm.parallel.world import World

PATIENT_S = 60.0


def launches(num_ranks, **changes):
    port = free_ports(1)[0]
    return [
        Launch(launcher="test", rank=rank, num_ranks=num_ranks, port=port, **changes)
        for rank in range(num_ranks)
    ]


def come(launch, host="a", timeout_s=PATIENT_S, cheerful=True, **changes):
    """What a rank does to take part: its verdict, or the line it ends with."""
    try:
        store, reached = open_store(launch, timeout_s)
        card = Card(host=host, device="cpu", reached=reached, **changes)
        verdict = meet(store, launch, card, timeout_s)
    except InputError as error:
        return str(error)
    if cheerful:
        leave(store, World(rank=launch.rank, placement=verdict.placement))
    return verdict


def all_come(ranks, hosts, **changes):
    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(lambda rank, host: come(rank, host, **changes), ranks, hosts))


def test_all_learn_the_placement():
    # Rank 0 comes last: the others call until it answers.
    ranks = launches(4)
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(come, ranks[r], "ab"[r % 2]) for r in (1, 2, 3)]
        time.sleep(0.2)
        verdicts = [come(ranks[0], "a"), *(other.result() for other in others)]
    assert {verdict.placement for verdict in verdicts} == {(0, 1, 0, 1)}
    assert {verdict.address for verdict in verdicts} == {"127.0.0.1"}


def test_who_has_not_come_is_named_to_all_that_have():
    ranks = launches(8)
    came = [ranks[r] for r in (0, 2, 6)]
    lines = set(all_come(came, "aaa", timeout_s=0.5))
    expected = f"of 8 ranks 5 have not come to 127.0.0.1:{ranks[0].port} after 0 s: 1, 3-5, 7"
    assert lines == {expected}


def test_what_rank_0_refuses_all_are_told():
    ranks = launches(2)
    with ThreadPoolExecutor(2) as pool:
        lines = list(pool.map(lambda r: come(ranks[r], ranks_per_node=r + 1), (0, 1)))
    assert lines[0] == lines[1]
    assert lines[0].startswith("EXASTORM_RANKS_PER_NODE must be the same on all ranks, got 1")


def test_no_one_at_the_meeting_point():
    launch = launches(2)[1]
    line = come(launch, timeout_s=0.2)
    assert line.startswith(f"no one answers rank 1 at 127.0.0.1:{launch.port} after 0 s")
    assert "MASTER_ADDR and MASTER_PORT must be those of rank 0" in line


def test_a_name_that_nobody_knows(monkeypatch):
    launch = launches(2, address="no-such-host.invalid")[1]
    monkeypatch.setattr(meeting, "NAME_TIMEOUT_S", 0.1)
    line = come(launch)
    assert "no-such-host.invalid" in line
    assert "its name is not known" in line


def test_a_rank_comes_once():
    # As when a second run on the machine finds the store of the first at its port.
    ranks = launches(2)
    store, _ = open_store(ranks[0], PATIENT_S)
    store.add("meeting/claim/1", 1)
    line = come(ranks[1])
    assert line == (
        f"rank 1 has come twice to 127.0.0.1:{ranks[1].port}: runs that share a machine must "
        "differ in MASTER_PORT"
    )


def test_a_port_in_use():
    launch = launches(2)[0]
    with socket.create_server(("", launch.port)):
        line = come(launch)
    assert line.startswith(f"MASTER_PORT must be a free port of this machine, got {launch.port}")


def test_something_else_at_the_meeting_point():
    with socket.create_server(("127.0.0.1", 0)) as server:
        launch = Launch(rank=1, num_ranks=2, port=server.getsockname()[1])

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        line = come(launch, timeout_s=1.0)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "must be the meeting point of this run, but something else answers there" in line
    assert "\n" not in line


def test_rank_0_that_leaves_is_missed():
    ranks = launches(2)
    store, _ = open_store(ranks[0], PATIENT_S)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(come, ranks[1])
        store.wait(["meeting/rank/1"])
        del store  # with it the server ends, as when rank 0's process dies
        line = other.result()
    assert line == f"rank 0 left 127.0.0.1:{ranks[0].port} while others came"


def test_a_wrong_address_is_suspected():
    # 198.51.100.0/24 belongs to no machine (RFC 5737); rank 0 listens on its own all the same.
    launch = launches(2, address="198.51.100.77")[0]
    assert come(launch, timeout_s=0.1).endswith("is MASTER_ADDR the machine of rank 0?")


def test_many_missing_ranks_make_a_short_line():
    line = come(launches(5_000)[0], timeout_s=0.01)
    assert line.endswith("after 0 s: 1-4999")
    assert meeting._ranges(list(range(0, 100, 2))) == "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, ..."


def test_a_kept_store_forgets_earlier_starts():
    # The launcher keeps one store; the ranks of an earlier start have left their cards in it.
    port = free_ports(1)[0]
    keeper, _ = open_store(Launch(rank=0, num_ranks=1, port=port), PATIENT_S)
    for restart, hosts in ((0, "aab"), (1, "ab")):
        ranks = [
            Launch(rank=r, num_ranks=len(hosts), port=port, keeps_store=True, restart_count=restart)
            for r in range(len(hosts))
        ]
        placements = {v.placement for v in all_come(ranks, hosts)}
        assert placements == {((0, 0, 1), (0, 1))[restart]}
    # A rank that counts restarts otherwise is missed, and the way out is told.
    late = Launch(rank=0, num_ranks=2, port=port, keeps_store=True, restart_count=2)
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in come(late, timeout_s=0.1)
    del keeper


def test_runs_at_one_store_do_not_mix():
    port = free_ports(1)[0]
    keeper, _ = open_store(Launch(rank=0, num_ranks=1, port=port), PATIENT_S)
    ranks = [
        Launch(rank=r, num_ranks=2, port=port, keeps_store=True, job=job)
        for job in ("1.0", "2.0")
        for r in (0, 1)
    ]
    placements = [v.placement for v in all_come(ranks, "aaab")]
    assert placements == [(0, 0), (0, 0), (0, 1), (0, 1)]
    del keeper
