"""How samples are staged: where files go, as for any files, and what becomes of the samples."""

from dataclasses import dataclass
from typing import Literal

from exastorm.parallel.staging.settings import StageSettings
from exastorm.samples.converting import SampleConverter, make_converter
from exastorm.samples.index import SampleIndex


@dataclass(frozen=True, kw_only=True)
class SampleStageSettings(StageSettings):
    """Settings of staging samples."""

    channels: tuple[str, ...] | None = None
    """Channels that nodes keep, in this order; a network then learns from these alone. None keeps
    all. Readers leave out the others on the way, after the checksum was compared."""

    dtype: Literal["float32", "float16"] | None = None
    """Numbers of the fields on the nodes; float16 takes half the room (see `prepare.dtype`). None
    keeps them as they are. Statistics for scaling stay those of the samples in either case."""

    def converter(self, index: SampleIndex) -> SampleConverter | None:
        """What changes the samples of an index on the way; None where they stay as they are.

        Raises:
            InputError: For channels that the samples lack.
        """
        if self.channels is None and self.dtype is None:
            return None
        return make_converter(index, channels=self.channels, dtype=self.dtype)
