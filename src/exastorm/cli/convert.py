"""`exastorm convert`: samples of one form into another."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from exastorm.cli.command import Command, OnePath, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.samples.convert import ConvertSettings, convert_samples


@dataclass(frozen=True, kw_only=True)
class Convert(Command):
    """Turn samples into another form: shards, DeepCAM's HDF5 files, .npy files, a Zarr group."""

    example: ClassVar[str] = "exastorm convert samples deepcam --to deepcam"

    short_options: ClassVar[dict[str, str]] = {
        f"--{name}": f"--convert.{name}"
        for name in ("to", "channels", "dtype", "compression", "shard-mb")
    }

    samples: OnePath
    """Folder of samples of any of the forms."""

    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to make; one that exists is refused."""

    convert: ConvertSettings = ConvertSettings()

    def run(self) -> Outcome:
        """Convert them."""
        out = out_folder(self.out)
        index = convert_samples(self.samples, out, self.convert)
        num_bytes = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
        counts = ", ".join(f"{index.num_of_split(s)} {s}" for s in ("train", "validation", "test"))
        return Outcome(
            f"wrote {index.num_samples} samples ({counts}) as {self.convert.to},"
            f" {num_bytes / 1e6:.0f} MB, to {out}",
            {
                "out": str(out),
                **asdict(self.convert),
                "num_samples": index.num_samples,
                "num_bytes": num_bytes,
            },
        )
