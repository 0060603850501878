import pytest
from tests.parallel.control.made_members import MadeTree

PATIENCE = {"stall_s": 10.0, "hang_s": 35.0, "reply_s": 1.0}
# Seven ranks, radix 2: 0 over 1 and 4, 1 over 2 and 3, 4 over 5 and 6.


@pytest.fixture
def made():
    return MadeTree(7, 2, 3, **PATIENCE)


def submit_all_but(made, missing, step=0, buckets=(0, 1, 2)):
    for member in made.members:
        for bucket in buckets:
            if member.seat.rank != missing:
                member.submit(step, bucket)
    made.settle()


class TestHangingMainThread:
    @pytest.mark.parametrize("missing", range(7))
    def test_is_named_on_rank_0(self, made, missing):
        submit_all_but(made, missing)
        made.run_until(9.9)
        assert made.lines == {}
        made.run_until(10.1)
        bucket = "bucket 0, 1, 2"
        line = f"step 0 has waited 10 s for rank {missing} (alive, but has not submitted {bucket})"
        assert made.lines == {0: [line]}

    def test_is_told_again_but_not_to_tire(self, made):
        submit_all_but(made, 6)
        made.run_until(34.9)
        assert [line[:22] for line in made.lines[0]] == [
            f"step 0 has waited {n} s" for n in (10, 20, 30)
        ]

    @pytest.mark.parametrize("missing", [0, 1, 6])
    def test_ends_the_run_everywhere_after_hang_s(self, made, missing):
        submit_all_but(made, missing)
        made.run_until(34.9)
        assert all(member.failure is None for member in made.members)
        made.run_until(35.1)
        lines = {member.failure.line for member in made.members}
        assert len(lines) == 1
        assert f"step 0 has waited 35 s for rank {missing} (alive" in lines.pop()
        assert made.members[3].failure.ranks == (missing,)

    def test_only_missing_buckets_are_named(self, made):
        submit_all_but(made, None, buckets=(0, 2))
        for rank in (0, 1, 2, 3, 5, 6):
            made.members[rank].submit(0, 1)
        made.settle()
        made.run_until(11)
        assert "rank 4 (alive, but has not submitted bucket 1)" in made.lines[0][0]

    def test_many_buckets_are_counted(self):
        made = MadeTree(2, 2, 10, **PATIENCE)
        made.members[0].finish(0)
        made.run_until(11)
        assert "bucket 0, 1, 2, 3 and 6 more)" in made.lines[0][0]

    def test_many_ranks_are_counted(self):
        made = MadeTree(40, 4, 1, **PATIENCE)
        made.members[17].submit(0, 0)
        made.run_until(11)
        assert made.lines[0][0].count("alive") == 16
        assert made.lines[0][0].endswith("and 23 more ranks")

    def test_several_at_once_where_no_subtree_is_whole(self, made):
        # Rank 0 has heard nothing at all of this step; those who wait tell it.
        for rank in (2, 5):
            made.members[rank].finish(0)
        made.settle()
        made.run_until(10.1)
        (line,) = made.lines[0]
        for rank in (0, 1, 3, 4, 6):
            assert f"rank {rank} (alive" in line
        assert "rank 2 " not in line
        assert "rank 5 " not in line

    def test_in_a_cached_step(self, made):
        for step in range(6):
            made.run_step(step, [range(3)] * 7)
        submit_all_but(made, 5, step=6)
        assert made.orders(6)[0] == (0, 1, 2), "cached"
        made.run_until(10.1)
        assert "step 6 has waited 10 s for rank 5 (alive" in made.lines[0][0]

    def test_in_a_vote(self, made):
        for member in made.members[:-1]:
            member.vote(3)
        made.settle()
        made.run_until(10.1)
        assert "step 3 has waited 10 s for rank 6 (alive, but has not voted)" in made.lines[0]

    def test_at_the_end_of_the_run(self, made):
        for member in made.members[:-1]:
            member.leave()
        made.settle()
        made.run_until(10.1)
        assert made.lines[0] == [
            "the end of the run has waited 10 s for rank 6 (alive, but has not ended its run)"
        ]

    def test_a_rank_that_left_early(self, made):
        made.members[5].leave()
        submit_all_but(made, 5)
        made.run_until(10.1)
        assert "rank 5 (has ended its run, others go on)" in made.lines[0][0]


class TestSilentRank:
    @pytest.mark.parametrize("silent", range(1, 7))
    def test_is_told_from_a_hanging_one(self, made, silent):
        made.stopped = {silent}
        submit_all_but(made, silent)
        # An inner rank's parent waits one reply_s for each level below the parent.
        made.run_until(10.0 + 2.1)
        assert made.lines == {
            0: [
                f"step 0 has waited 10 s for rank {silent} (gives no answer: "
                "its process is stopped, or its node or link is lost)"
            ]
        }

    @pytest.mark.parametrize("silent", range(7))
    def test_ends_the_run_on_all_others(self, made, silent):
        made.stopped = {silent}
        submit_all_but(made, silent)
        made.run_until(34.9)
        assert all(member.failure is None for member in made.members)
        made.run_until(35 + 3.1)
        others = [member for member in made.members if member.seat.rank != silent]
        # Also those below the silent one, which nobody above can reach.
        lines = {member.failure.line for member in others}
        assert len(lines) == 1
        assert f"has waited 35 s for rank {silent} (gives no answer" in lines.pop()

    @pytest.mark.parametrize(("stopped", "tellers"), [({0}, {1, 4}), ({0, 1, 2}, {4})])
    def test_silent_rank_0_is_reported_by_each_child(self, made, stopped, tellers):
        # In the same line, so that one may tell it; one must be left if a whole node is lost.
        made.stopped = stopped
        for member in made.members:
            if member.seat.rank not in stopped:
                member.vote(3)
        made.settle()
        made.run_until(11.1)
        line = (
            "step 3 has waited 10 s for rank 0 (gives no answer: "
            "its process is stopped, or its node or link is lost)"
        )
        assert made.lines == {rank: [line] for rank in tellers}

    def test_a_rank_that_wakes_up_in_time_is_forgiven(self, made):
        made.stopped = {4}
        submit_all_but(made, 4)
        made.run_until(15)
        made.stopped = set()
        made.settle()
        made.run_until(60)
        assert "rank 4 (gives no answer" in made.lines[0][0]
        assert "rank 4 (alive" in made.lines[0][1], "awake, and now the step waits for its buckets"
        woken = MadeTree(7, 2, 3, **PATIENCE)
        woken.stopped = {4}
        submit_all_but(woken, 4)
        woken.run_until(15)
        woken.stopped = set()
        woken.members[4].finish(0)
        woken.settle()
        woken.run_until(100)
        assert all(member.failure is None for member in woken.members)
        assert set(woken.orders(0)) == {(0, 1, 2)}

    def test_reply_s_is_the_patience_with_each_level(self):
        # Rank 4 has one level below it: rank 0 waits 2 x reply_s for it.
        made = MadeTree(7, 2, 3, stall_s=10.0, hang_s=35.0, reply_s=3.0)
        made.stopped = {4}
        submit_all_but(made, 4)
        made.run_until(15.9)
        assert made.lines == {}
        made.run_until(16.1)
        assert "rank 4 (gives no answer" in made.lines[0][0]


class TestWaitElsewhere:
    """Main threads wait in a collective, so nobody votes: the one who never comes is named."""

    @pytest.mark.parametrize("silent", range(7))
    def test_for_a_silent_rank(self, made, silent):
        for member in made.members:
            member.vote(3)
            if member.seat.rank != silent:
                member.await_others()
        made.settle()
        made.stopped = {silent}
        made.run_until(9.9)
        assert made.lines == {}
        made.run_until(10.0 + 2.1)
        teller = 0 if silent else 1
        (line,) = made.lines[teller]
        assert line.startswith(f"step 4 has waited 10 s for rank {silent} (gives no answer")
        assert line.count("rank") == 1
        made.run_until(35 + 3.1)
        lines = {m.failure.line for m in made.members if m.seat.rank != silent}
        assert len(lines) == 1
        assert f"has waited 35 s for rank {silent} (gives no answer" in lines.pop()

    @pytest.mark.parametrize("late", [0, 1, 6])
    def test_for_a_rank_that_does_something_else(self, made, late):
        for member in made.members:
            if member.seat.rank != late:
                member.await_others()
        made.run_until(10.1)
        line = f"step 0 has waited 10 s for rank {late} (alive, but has not voted)"
        assert made.lines == {0: [line]}

    def test_is_over_when_the_collective_is(self, made):
        for member in made.members:
            member.vote(3)
            member.await_others()
            # A second thread of the same rank waits too.
            member.await_others()
            member.go_on()
        made.settle()
        assert made.members[5].next_tick() == 10.0
        made.run_until(9.0)
        for member in made.members:
            member.go_on()
            assert member.next_tick() is None
        # Long steps, in which nobody waits for anybody, are no stall.
        made.run_until(1000)
        assert made.lines == {}

    @pytest.mark.parametrize("first_vote", [1, 101])
    def test_a_word_of_it_that_comes_late_is_forgotten(self, first_vote):
        # Rank 2 is slow to its first batch. Just when rank 1 says that it waits, all go on.
        made = MadeTree(3, 2, 0, **PATIENCE)
        for member in made.members[:2]:
            member.await_others()
        made.now = 10.0
        made.members[1].tick()
        made.collect(1)
        for member in made.members[:2]:
            member.go_on()
        made.settle()
        # A long step, then short ones: nobody votes on step 0, nor on those before a resume.
        made.run_until(100.0)
        for step in range(first_vote, first_vote + 50):
            for member in made.members:
                member.vote(step)
            made.settle()
            made.run_until(made.now + 1.0)
        assert made.lines == {}
        assert all(member.failure is None for member in made.members)
        assert all(member.next_tick() is None for member in made.members)

    def test_all_who_wait_for_one_another_name_nobody(self, made):
        # Whom to name? The collective's own timeout ends that.
        for member in made.members:
            member.await_others()
        made.run_until(1000)
        assert made.lines == {}


def test_nothing_is_due_when_nothing_is_waited_for(made):
    # No timer, no message: an idle tree sleeps for ever.
    assert all(member.next_tick() is None for member in made.members)
    submit_all_but(made, None)
    for member in made.members:
        member.vote(0)
    made.settle()
    for member in made.members:
        member.tick()
        assert member.next_tick() is None
    packets = made.packets
    made.run_until(1000)
    assert (made.packets, made.lines) == (packets, {})


def test_a_rank_that_was_asleep_itself_blames_nobody(made):
    # A suspended job: when it goes on, more than hang_s has gone by on every clock.
    submit_all_but(made, 6)
    for member in made.members[:-1]:
        member.vote(0)
    made.settle()
    made.now = 100.0
    for member in made.members:
        member.forgive()
        member.tick()
        assert member.next_tick() in (None, 110.0)
    made.settle()
    assert made.lines == {}
    made.members[6].finish(0)
    made.members[6].vote(0)
    made.settle()
    made.run_until(200)
    assert made.lines == {}
    assert all(member.failure is None for member in made.members)


def test_progress_is_no_stall(made):
    # A slow step: something comes every 8 s, never 10 s of silence.
    for bucket in range(3):
        made.run_until(made.now + 8)
        submit_all_but(made, None, buckets=(bucket,))
    made.run_until(made.now + 8)
    assert made.lines == {}


class TestDeath:
    @pytest.mark.parametrize("dead", range(7))
    def test_every_rank_ends_with_the_same_line(self, made, dead):
        submit_all_but(made, None, buckets=(0,))
        made.stopped = {dead}
        neighbors = [*made.tree.children(dead), made.tree.parent(dead)]
        for rank in neighbors:
            if rank is not None:
                made.members[rank].lose(dead)
        made.settle()
        others = [member for member in made.members if member.seat.rank != dead]
        assert {member.failure.line for member in others} == {
            f"rank {dead} died: its connection was closed"
        }
        assert {member.failure.ranks for member in others} == {(dead,)}

    def test_nothing_is_said_afterwards(self, made):
        made.members[6].lose(4)
        made.settle()
        packets = made.packets
        submit_all_but(made, None)
        for member in made.members:
            member.vote(1)
            member.leave()
            member.tick()
        made.settle()
        made.run_until(1000)
        assert made.packets == packets

    def test_a_failure_of_ones_own_is_told_to_all(self, made):
        made.members[3].fail("rank 3 failed: no space left on device", (3,))
        made.settle()
        assert {m.failure.line for m in made.members} == {"rank 3 failed: no space left on device"}
