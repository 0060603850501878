"""A ledger says what is whole, whatever happened to its end."""

import pytest

from exastorm.parallel.staging.ledger import Entry, Ledger, Line

ONE = Line(Entry("a", 5, 77), "print", "5 abc as it is")
TWO = Line(Entry("sub/b\u00e9", 0, 0), "other")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def test_missing_is_empty(ledger):
    assert ledger.read() == (set(), {})


def test_what_is_begun_and_what_is_whole(ledger):
    ledger.begin("c")
    ledger.add(ONE)
    ledger.begin("sub/b\u00e9")
    ledger.add(TWO)
    assert ledger.read() == ({"a", "c", "sub/b\u00e9"}, {"a": ONE, "sub/b\u00e9": TWO})


def test_the_last_line_counts(ledger):
    ledger.add(ONE)
    newer = Line(Entry("a", 6, 78), "print")
    ledger.add(newer)
    ledger.begin("a")
    assert ledger.read()[1] == {"a": newer}


def test_a_torn_line_is_ignored_and_spoils_no_other(ledger, tmp_path):
    path = tmp_path / "ledger"
    ledger.add(ONE)
    size = path.stat().st_size
    ledger.add(TWO)
    whole = path.read_bytes()
    # Cut at every byte of the second line but its last, which is a line feed and says nothing.
    for end in range(size, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert ledger.read()[1] == {"a": ONE}
        ledger.add(TWO)
        assert ledger.read()[1] == {"a": ONE, "sub/b\u00e9": TWO}


def test_a_flipped_bit_and_a_tail_of_zeros(ledger, tmp_path):
    path = tmp_path / "ledger"
    ledger.add(ONE)
    ledger.add(TWO)
    whole = bytearray(path.read_bytes())
    whole[15] ^= 1
    path.write_bytes(bytes(whole) + bytes(4096) + b"\n\xff\xfe \n")
    assert ledger.read()[1] == {"sub/b\u00e9": TWO}


def test_rewriting(ledger, tmp_path):
    ledger.add(ONE)
    ledger.rewrite({"sub/b\u00e9": TWO}, ["d"])
    assert ledger.read() == ({"sub/b\u00e9", "d"}, {"sub/b\u00e9": TWO})
    assert [path.name for path in tmp_path.iterdir()] == ["ledger"]
