"""Sums over real ranks on emulated nodes: exact where float32 is, near where the wire rounds."""

import json
from pathlib import Path

import pytest
import torch
from tests.parallel.made_ports import free_ports
from tests.parallel.made_processes import run_processes

from exastorm.parallel.allreduce import direct
from exastorm.parallel.allreduce.family import AllReduceSettings

RANK = Path(__file__).with_name("rank_of_allreduce.py")

PLACEMENTS = {
    "1x1": [0],
    "1x2": [0, 0],
    "2x1": [0, 1],
    "2x2": [0, 0, 1, 1],
    "2x2 dealt out": [0, 1, 0, 1],
    "2x3": [0, 0, 0, 1, 1, 1],
    "3x2": [0, 0, 1, 1, 2, 2],
    "3+2+1": [0, 0, 0, 1, 1, 2],
    "4x2": [0, 0, 1, 1, 2, 2, 3, 3],
}

SIZES = [0, 1, 2, 3, 5, 7, 64, 1001, 65_537]
"""Numbers in a buffer: fewer than ranks, and more than a chunk, none a multiple of the others."""

WAYS = [
    {"kind": "flat"},
    {"kind": "hierarchical", "chunk_mb": 0.01},
    {"kind": "hierarchical", "leaders_per_node": 2, "chunk_mb": 0.003},
    {"kind": "leader"},
]


UNEVEN, LARGE_WAYS = [0, 0, 1, 2], [{"kind": "leader"}, {"kind": "hierarchical"}]

LARGE = [16_661, 65_537, 300_007]
"""On 3 nodes: sent whole to each (67 kB, twice), in pieces (262 kB), in a ring (1.2 MB)."""

LARGEST = [1_000_003, 10_000_019]
"""Of primes no number of ranks or shares is a divisor; the largest makes 40 MB."""

DIRECT = [1, 2, 1001, 24_999, 25_003, 50_021]
"""On 3 nodes 200 kB may be sent whole, 25,000 numbers to two others; 50,021 is no multiple of 3."""


def run(jobs, limit_s):
    """What each rank saw in each job it took part in."""
    num_ranks = max(len(job["placement"]) for job in jobs)
    for job, port in zip(jobs, free_ports(len(jobs)), strict=True):
        job["port"] = port
    seen = run_processes([RANK], num_ranks, limit_s, JOBS=jobs)
    return [entry for of_rank in seen for entry in of_rank]


@pytest.fixture(scope="module")
def sums():
    jobs = [
        {"do": "exact_sums", "placement": placement, "ways": WAYS, "sizes": SIZES}
        for placement in PLACEMENTS.values()
    ]
    jobs.append({"do": "rounded_sums", "placement": PLACEMENTS["2x2"]})
    jobs.append(
        {"do": "exact_sums", "placement": [0, 0, 1], "ways": [{"kind": "auto"}], "sizes": SIZES}
    )
    jobs.append({"do": "exact_sums", "placement": UNEVEN, "ways": LARGE_WAYS, "sizes": LARGE})
    jobs.append({"do": "direct_sums", "placement": [0, 1, 2], "sizes": DIRECT})
    return run(jobs, limit_s=300)


@pytest.mark.parametrize("name", PLACEMENTS)
@pytest.mark.parametrize("way", [json.dumps(way) for way in WAYS])
def test_sums_of_integers_are_exact(sums, name, way):
    wrong = [s[way] for s in sums if s["placement"] == PLACEMENTS[name] and way in s]
    assert wrong == [[]] * len(PLACEMENTS[name])


@pytest.mark.parametrize("way", [json.dumps(way) for way in LARGE_WAYS])
def test_sums_of_every_size_are_exact(sums, way):
    assert [s[way] for s in sums if s["placement"] == UNEVEN] == [[]] * 4


@pytest.mark.slow
def test_sums_of_ten_million_numbers_are_exact():
    ways = [{"kind": "flat"}, {"kind": "hierarchical"}]
    jobs = [
        {"do": "exact_sums", "placement": placement, "ways": ways, "sizes": LARGEST}
        for placement in PLACEMENTS.values()
    ]
    found = run(jobs, limit_s=900)
    assert len(found) == sum(len(placement) for placement in PLACEMENTS.values())
    assert all(rank[json.dumps(way)] == [] for rank in found for way in ways)


def test_direct_sums_are_exact_and_the_same_bits_everywhere(sums):
    seen = [s["direct"] for s in sums if "direct" in s]
    assert len(seen) == 3
    for of_ranks in zip(*seen, strict=True):
        assert all(rank["exact"] for rank in of_ranks)
        assert len({rank["bits"] for rank in of_ranks}) == 1


# float32 adds four numbers of about 1 with an error of 2^-24 of them; bfloat16 rounds each part and
# the sum to 8 bits (2^-9 of each at most, 2^-10.8 in the mean square), float16 to 11.
@pytest.mark.parametrize(
    ("wire", "low", "high"),
    [("float32", 0.0, 1e-7), ("bfloat16", 5e-4, 3.5e-3), ("float16", 6e-5, 4.5e-4)],
)
@pytest.mark.parametrize("kind", ["flat", "hierarchical"])
def test_numbers_on_the_wire_round_once_each_way(sums, kind, wire, low, high):
    seen = [s[f"{kind} {wire}"] for s in sums if f"{kind} {wire}" in s]
    assert len(seen) == 4
    assert all(low <= s["error"] <= high for s in seen)
    assert all(s["same"] for s in seen)


def test_all_ranks_choose_the_same_and_say_so(sums):
    seen = [s for s in sums if "choice" in s]
    assert len(seen) == 3
    assert all(s["choice"] == seen[0]["choice"] for s in seen)
    assert set(seen[0]["choice"]) <= {"flat", "hierarchical", "leader"}
    assert seen[0]["line"].startswith("all-reduce: from 0.004 MB ")
    assert all(s['{"kind": "auto"}'] == [] for s in seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "best"}, "kind must be one of auto, flat, hierarchical, leader, got 'best'"),
        ({"wire": "int8"}, "wire must be one of"),
        ({"leaders_per_node": 0}, "leaders_per_node must be at least 1, got 0"),
        ({"chunk_mb": 0.0}, "chunk_mb must be positive, got 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AllReduceSettings(**change)


def test_small_shares_of_few_nodes_go_directly():
    share = torch.zeros(250_000)  # 1 MB
    assert direct.serves(share, direct.MOST_NODES)
    assert not direct.serves(share, direct.MOST_NODES + 1)
    assert not direct.serves(torch.zeros(250_001), 2)
    assert not direct.serves(torch.zeros(1, device="meta"), 2)
