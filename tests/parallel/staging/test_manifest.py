"""Names of staged files lead nowhere but below the root; the fingerprint tells files apart."""

import dataclasses

import pytest

from exastorm.errors import InputError
from exastorm.parallel.staging.manifest import Manifest, StagedFile, differ_by_case, origin

SHA = "0" * 64


@pytest.mark.parametrize("name", ["a", "a/b.bin", "with space", "Größe", ".hidden", "a..b"])
def test_names_that_stay_below_the_root(name):
    assert StagedFile(name, 1).name == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a/", "a\nb", "a\0b"]
)
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(InputError, match="a name of a file to stage must"):
        StagedFile(name, 1)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"num_bytes": -1}, "sizes must not be negative"),
        ({"num_samples": -1}, "sizes must not be negative"),
        ({"sha256": "ABC"}, "sha256 must be 64 hexadecimal"),
    ],
)
def test_files_that_cannot_be(words, problem):
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(StagedFile("a", 1), **words)


def test_a_name_is_there_once_and_no_folder_of_another():
    with pytest.raises(InputError, match="a twice"):
        Manifest("/r", (StagedFile("a", 1), StagedFile("b", 1), StagedFile("a", 1)))
    with pytest.raises(InputError, match="a can't be both a file and the folder of a/b/c"):
        Manifest("/r", (StagedFile("a/b/c", 1), StagedFile("a", 1)))


def test_fingerprint_sees_files_and_form_alone():
    one, two = StagedFile("a", 1, SHA), StagedFile("b", 2)
    plain = Manifest("/r", (one, two)).fingerprint
    assert Manifest("/elsewhere", (two, one)).fingerprint == plain
    others = [
        Manifest("/r", (one,)),
        Manifest("/r", (one, two), form="half"),
        Manifest("/r", (one, dataclasses.replace(two, num_bytes=3))),
        Manifest("/r", (one, dataclasses.replace(two, sha256=SHA))),
        Manifest("/r", (one, dataclasses.replace(two, name="c"))),
        Manifest("/r", (one, dataclasses.replace(two, num_samples=9))),
    ]
    assert len({plain, *(other.fingerprint for other in others)}) == 7


def test_origin_is_known_by_checksum_only():
    assert origin(StagedFile("a", 1), "half") == ""
    assert origin(StagedFile("a", 1, SHA), "half") == origin(StagedFile("b", 1, SHA), "half")
    assert origin(StagedFile("a", 1, SHA), "half") != origin(StagedFile("a", 1, SHA), "whole")


def test_names_that_differ_by_case():
    assert differ_by_case(["a", "b", "sub/A", "a.b"]) is None
    assert differ_by_case(["a/x", "b", "A/x"]) == ("a/x", "A/x")
