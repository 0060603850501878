import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parallel.control.made_members import MadeTree

from exastorm.parallel.control.messages import Difference, Outcome, Status
from exastorm.parallel.control.stragglers import StragglerTable
from exastorm.parallel.control.votes import LEAVE


def vote_all(made, step, **votes):
    """Each rank votes what stands at its place in the lists."""
    ranks = range(len(made.members))
    made.on_all(
        lambda m: m.vote(step, **{name: values[m.seat.rank] for name, values in votes.items()})
    )
    made.settle()
    outcomes = [made.members[rank].votes.outcomes.get(step) for rank in ranks]
    assert len(set(outcomes)) == 1, "all ranks get the same outcome"
    return outcomes[0]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(0, 4), st.data())
def test_outcome_is_that_of_all_votes(num_ranks, radix, data):
    made = MadeTree(num_ranks, radix, seed=data.draw(st.integers(0, 99)), num_slowest=3)
    a_list = {"min_size": num_ranks, "max_size": num_ranks}
    bits = data.draw(st.lists(st.sampled_from([0, 0, 1, 4, 8]), **a_list))
    seconds = data.draw(st.lists(st.floats(0, 100), **a_list))
    outcome = vote_all(made, 7, bits=bits, seconds=seconds)
    expected = 0
    for one in bits:
        expected |= one
    assert outcome.bits == expected
    assert outcome.num_ranks == num_ranks
    assert outcome.mean_s == pytest.approx(statistics.fmean(seconds))
    assert outcome.sd_s == pytest.approx(statistics.pstdev(seconds), abs=1e-4)
    slowest = sorted(((s, -rank) for rank, s in enumerate(seconds)), reverse=True)[:3]
    assert outcome.slowest == tuple((s, -rank) for s, rank in slowest)
    # At most radix + 1 messages each way: a tally from each child, the outcome from the parent.
    for rank in range(num_ranks):
        neighbors = len(made.tree.children(rank)) + (rank > 0)
        assert made.messages_in[rank] == made.messages_out[rank] == neighbors


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 20), st.integers(0, 4), st.data())
def test_first_rank_unlike_rank_0_is_named(num_ranks, radix, data):
    made = MadeTree(num_ranks, radix)
    one = st.tuples(st.sampled_from([5, 5, 5, 5, 6]), st.sampled_from([1, 1, 1, 2]))
    prints = data.draw(st.lists(one, min_size=num_ranks, max_size=num_ranks))
    outcome = vote_all(made, 0, fingerprint=prints)
    unlike = [rank for rank, one in enumerate(prints) if one != prints[0]]
    if not unlike:
        assert outcome.different is None
    else:
        position = 0 if prints[unlike[0]][0] != prints[0][0] else 1
        assert outcome.different == Difference(unlike[0], position)


def test_missing_or_shorter_fingerprint_is_a_difference():
    made = MadeTree(3, 2)
    assert vote_all(made, 0, fingerprint=[(1, 2), (1, 2), None]).different == (2, 0)
    assert vote_all(made, 1, fingerprint=[(1, 2), (1,), (1, 2)]).different == (1, 1)


def test_status_reads_as_words():
    made = MadeTree(2, 2)
    outcome = vote_all(made, 0, bits=[Status.STOP, 2])
    assert outcome.status == Status.STOP | 2
    assert not outcome.status & 4


def test_votes_are_on_one_step_after_the_other_and_of_real_time():
    made = MadeTree(1)
    rank = made.members[0]
    rank.vote(3)
    with pytest.raises(ValueError, match="got step 3 after step 3"):
        rank.vote(3)
    for seconds in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds must be finite and not negative"):
            rank.vote(4, seconds=seconds)
    with pytest.raises(ValueError, match="number must be finite, got inf"):
        rank.vote(4, number=math.inf)


def test_only_the_last_outcomes_are_kept():
    made = MadeTree(2, 2)
    for step in range(150):
        vote_all(made, step)
    assert all(len(member.votes.outcomes) <= 100 for member in made.members)


class TestWaitingForAVote:
    """What is heard of a step on which nobody votes any more opens no poll, and keeps none."""

    @pytest.fixture
    def votes(self):
        made = MadeTree(2, 2)
        vote_all(made, 5)
        votes = made.members[0].votes
        votes.made = made
        return votes

    @pytest.mark.parametrize("step", [0, 4, 5])
    def test_past_steps_are_ignored(self, votes, step):
        votes.touch(step, 0.0)
        assert votes.oldest() is None

    @pytest.mark.parametrize("step", [6, LEAVE])
    def test_what_is_to_come_is_waited_for(self, votes, step):
        votes.touch(step, 0.5)
        assert votes.oldest() == (0.5, step)
        # A vote on a later step ends the wait for that one, but not for the end of the run.
        votes.made.now = 2.0
        votes.made.members[0].vote(7)
        assert votes.oldest() == (2.0, 7)
        vote_rest = votes.made.members[1]
        vote_rest.vote(7)
        votes.made.settle()
        assert votes.oldest() == ((0.5, LEAVE) if step == LEAVE else None)

    def test_an_outcome_ends_all_before_it(self, votes):
        # A child of rank 0 speaks of step 6, then votes on step 7 as all do.
        votes.made.members[1].vote(6)
        votes.made.settle()
        assert votes.oldest() == (0.0, 6)
        vote_all(votes.made, 7)
        assert votes.oldest() is None

    def test_the_end_ends_all(self, votes):
        votes.touch(6, 0.0)
        for member in votes.made.members:
            member.leave()
        votes.made.settle()
        votes.touch(LEAVE, 0.0)
        assert votes.oldest() is None


def test_nobody_is_over_before_all_have_left():
    made = MadeTree(5, 2)
    for member in made.members[1:]:
        member.leave()
    made.settle()
    assert not any(member.is_over for member in made.members)
    made.members[0].leave()
    made.settle()
    assert all(member.is_over for member in made.members)
    made.members[3].lose(1)  # The connection ends after the goodbye.
    assert made.members[3].failure is None


class TestStragglers:
    def test_rank_0_keeps_the_table(self):
        # Mean of the others 1 s. Rank 5 takes 2 s at every second step: 1 s late, 5 of 10 steps.
        # Rank 3 takes 1.05 s: within 10 %.
        made = MadeTree(8, 2)
        for step in range(10):
            seconds = [1.0] * 8
            seconds[3] = 1.05
            seconds[5] = 2.0 if step % 2 else 1.0
            vote_all(made, step, seconds=seconds)
        (row,) = made.members[0].votes.stragglers.rows()
        assert (row.rank, row.num_late, row.num_steps) == (5, 5, 10)
        # The others' mean with rank 3: (6 x 1 + 1.05) / 7 = 1.00714.
        assert row.mean_late_s == pytest.approx(2 - 7.05 / 7)
        assert row.most_late_s == pytest.approx(2 - 7.05 / 7)
        assert made.members[1].votes.stragglers.rows() == ()

    def outcome(self, step, *seconds):
        mean_s = statistics.fmean(seconds)
        slowest = tuple(sorted(((s, rank) for rank, s in enumerate(seconds)), reverse=True))
        return Outcome(step, 0, len(seconds), mean_s, 0.0, slowest, None)

    def test_late_share(self):
        # 1.2 s against 1 s: late by 20 %.
        for late_share, num_rows in ((0.1, 1), (0.3, 0)):
            table = StragglerTable(10, late_share)
            table.record(self.outcome(0, 1.0, 1.2, 1.0))
            assert len(table.rows()) == num_rows

    def test_forgets_old_steps_and_puts_the_worst_first(self):
        table = StragglerTable(num_steps=3, late_share=0.1)
        table.record(self.outcome(0, 1.0, 1.0, 9.0))
        for step in (1, 2):
            table.record(self.outcome(step, 2.0, 1.0, 1.0))
        assert [row.rank for row in table.rows()] == [2, 0]
        table.record(self.outcome(3, 1.0, 4.0, 1.0))
        assert [(row.rank, row.num_late, row.num_steps) for row in table.rows()] == [
            (1, 1, 3),
            (0, 2, 3),
        ]

    def test_one_rank_is_never_late(self):
        table = StragglerTable(3, 0.1)
        table.record(self.outcome(0, 5.0))
        assert table.rows() == ()
