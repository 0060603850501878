"""What `samples.json` says of DeepCAM files that `exastorm convert` wrote."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exastorm.errors import InputError
from exastorm.readers.formats.deepcam_layouts import DeepcamLayout
from exastorm.readers.snapshot_files import snapshot_stem
from exastorm.samples.index import SampleIndex, parse_time
from exastorm.samples.reading import index_of

FACTS_NAME = "samples.json"
"""File of what the snapshots' files can't say: the index of the samples."""


def stems_of(index: SampleIndex) -> list[str]:
    """File name of each sample, without ending.

    Raises:
        InputError: If a time is not three-hourly, not of the noleap calendar, or comes twice.
    """
    run = index.provenance.get("fields.run", "1")
    stems = [snapshot_stem(parse_time(time, index.calendar), run) for time in index.times]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"times must differ, as files are named by them; {twice} comes twice")
    return stems


def known_index(folder: Path) -> SampleIndex | None:
    """The index of a folder's samples, if it says one.

    Raises:
        InputError: If it is none.
    """
    path = folder / FACTS_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"must be JSON, got {error}", file=path) from None
    return index_of(content, path)


def layout_by(index: SampleIndex) -> DeepcamLayout:
    """How the files of an index are laid out: as the converter writes them."""
    layout = index.layout
    return DeepcamLayout(
        generation=1,
        num_lat=layout.shape[1],
        num_lon=layout.shape[2],
        channels=index.channels,
        channels_last=True,
        labels=tuple((f"climate/labels_{k}", None) for k in range(layout.num_label_sets)),
        half_precision=layout.dtype == "float16",
    )


def files_by(index: SampleIndex, folder: Path, files: Sequence[Path]) -> list[Path]:
    """The files of a folder in the order of its index.

    Raises:
        InputError: If they are not those of the index.
    """
    stems = zip(stems_of(index), index.splits, strict=True)
    named = [folder / split / (stem + files[0].suffix) for stem, split in stems]
    different = sorted(set(named) ^ set(files))
    if different:
        raise InputError(f"files must be those of {FACTS_NAME}, not so", file=different[0])
    return named


def with_label_sets(index: SampleIndex, chosen: Sequence[int]) -> SampleIndex:
    """The index with some of its label sets alone, by number."""
    layout, shares = index.layout, index.label_set_shares
    if len(chosen) == layout.num_label_sets:
        return index
    if len(chosen) == 1:
        kept = replace(layout, label_sets=())
        return replace(
            index,
            layout=kept,
            class_shares=shares[chosen[0]],
            label_set_shares=(),
            version=kept.format_version,
        )
    return replace(
        index,
        layout=replace(layout, label_sets=tuple(layout.label_sets[k] for k in chosen)),
        label_set_shares=tuple(shares[k] for k in chosen),
    )
