"""`exastorm bench WHAT`: measure speed, each figure beside a physical limit of the same run."""

import sys
from importlib import import_module

from exastorm.cli.command import answer, parse
from exastorm.config import suggestion
from exastorm.errors import InputError

BENCHES: dict[str, tuple[str, str]] = {
    "synthesize": ("BenchSynthesize", "the made-up climate, beside copying the same bytes"),
    "shards": ("BenchShards", "random reads from several on-disk forms, beside raw reads"),
    "input": ("BenchInput", "samples/s from files to tensors, beside raw reads of the same bytes"),
    "rules": ("BenchRules", "rule sets of labels, beside the truth of a made-up climate"),
    "labels": ("BenchLabels", "rule sets and complete labels, beside reading the bytes"),
    "staging": ("BenchStaging", "files brought to emulated nodes, beside what the links allow"),
    "exchange": ("BenchExchange", "sums over ranks on emulated nodes, beside the wire's bound"),
    "overlap": ("BenchOverlap", "how much of the exchange of gradients a step hides"),
    "overhead": ("BenchOverhead", "the training loop at one process, beside a plain one"),
    "control": ("BenchControl", "packets and time of the control tree, beside one coordinator"),
    "step": ("BenchStep", "a training step, beside the device's own peak"),
}
"""What can be measured, its class in `benches/`, and what it is, in the order the data flows."""


def overview() -> str:
    """What `exastorm bench --help` prints."""
    rows = [f"  {name:<10}  {text}" for name, (_, text) in BENCHES.items()]
    usage = "usage: exastorm bench WHAT [--section.key value]... [--json]"
    example = "Example: exastorm bench step --step.height 192 --step.width 288"
    return "\n".join([usage, "", *rows, "", example])


def main(argv: list[str]) -> None:
    """Run one benchmark and print its figures.

    Raises:
        InputError: For an unknown one.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview() + "\n")
        return
    name = argv[0]
    if name not in BENCHES:
        raise InputError(f"unknown benchmark {name!r}{suggestion(name, BENCHES)}")
    cls = getattr(import_module(f"exastorm.cli.benches.{name}"), BENCHES[name][0])
    command = parse(cls, f"bench {name}", argv[1:])
    answer(command.run(), command.json)
