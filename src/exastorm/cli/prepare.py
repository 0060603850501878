"""`exastorm prepare`: turn an archive and its labels into training shards."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, ClassVar

import tyro

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.outputs import out_folder
from exastorm.errors import InputError
from exastorm.readers.class_maps import open_label_sets
from exastorm.readers.options import ReadOptions
from exastorm.samples.notices import find_notices
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings


@dataclass(frozen=True, kw_only=True)
class Prepare(Command):
    """Turn an archive and its labels into training shards, with statistics and checksums."""

    example: ClassVar[str] = "exastorm prepare climate/archive --labels labels.nc --out samples"

    paths: Paths
    """Files, globs or stores of one archive."""

    labels: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE")
    ] = ()
    """Class maps, at least one file, on the same grid, as `exastorm label` writes them. Given more
    than once, each file is a label set: another annotator's, or another rule's, of the same
    snapshots. The maps of an annotated archive are chosen with --prepare.label labels_0 labels_1,
    and the archive is given here again."""

    out: str
    """Folder to make. One that holds samples is refused, unless --prepare.overwrite."""

    read: ReadOptions = ReadOptions()
    prepare: PrepareSettings = PrepareSettings()

    def run(self) -> Outcome:
        """Prepare it.

        Raises:
            InputError: If there are no labels.
        """
        if not self.labels:
            raise InputError("prepare needs --labels FILE; try 'exastorm prepare --help'")
        out = out_folder(self.out)
        dataset = exastorm.open(list(self.paths), **asdict(self.read))
        labels, names = open_label_sets(self.labels, self.prepare.label_names)
        settings = replace(self.prepare, label=names if len(names) > 1 else names[0])
        index = prepare_samples(dataset, labels, out, settings)
        notices = find_notices(index)
        text = "\n".join(f"note: {notice}" for notice in notices)
        return Outcome(index.to_line(), index.to_dict() | {"notices": notices}, text)
