"""The data of experiments: each climate is made once, labeled once, and prepared as arms need it.

A climate's folder holds settings.yaml, archive/, labels.nc and samples-<hash>/ for each way in
which samples are made of it. settings.yaml is there first; archive, labels and samples each get
their names when they are whole. So what was made before is used, and what was cut off is made anew.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from exastorm.config import from_dict, read_yaml, save_settings
from exastorm.errors import InputError, writing
from exastorm.labels.archive import label_archive
from exastorm.performance.experiment_settings import ClimateSettings, settings_hash
from exastorm.readers.archives import open_archive, write_archive
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.samples.index import INDEX_NAME
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings

SETTINGS_NAME = "settings.yaml"
ARCHIVE_NAME = "archive"
LABELS_NAME = "labels.nc"

Say = Callable[[str], None]


def check_climate(folder: Path, climate: ClimateSettings) -> None:
    """Refuse a folder that holds another climate.

    Raises:
        InputError: If its settings are others, or it holds an archive and does not say which.
    """
    if not (folder / SETTINGS_NAME).is_file():
        if (folder / ARCHIVE_NAME).exists() or (folder / LABELS_NAME).exists():
            raise InputError(
                f"holds a climate without {SETTINGS_NAME}, which must say which; remove it",
                file=folder,
            )
        return
    values = read_yaml(folder / SETTINGS_NAME)
    found = from_dict(ClimateSettings, values, folder / SETTINGS_NAME)
    for name in ("synthesize", "label"):
        if settings_hash(getattr(found, name)) != settings_hash(getattr(climate, name)):
            raise InputError(
                f"{name} must be that of the experiment's climate, got other settings; "
                "give another --out, or remove the folder",
                file=folder / SETTINGS_NAME,
            )


def make_climate(folder: Path, climate: ClimateSettings, say: Say) -> None:
    """Make the archive of a climate and its labels, as far as they are not there.

    Args:
        folder: Of this climate alone.
        climate: The settings.
        say: Is told what was made.

    Raises:
        InputError: As `check_climate`.
    """
    check_climate(folder, climate)
    archive, labels = folder / ARCHIVE_NAME, folder / LABELS_NAME
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SETTINGS_NAME).is_file():
        save_settings(climate, folder / SETTINGS_NAME)
    if not archive.exists():
        partial = folder / f"{ARCHIVE_NAME}-partial"
        shutil.rmtree(partial, ignore_errors=True)
        with writing(partial):
            write_archive(synthetic_dataset(climate.synthesize), partial, "cam")
        partial.replace(archive)
        say(f"climate: {archive}")
    if not labels.exists():
        label_archive(open_archive(archive), labels, climate.label)
        say(f"labels: {labels}")


def samples_folder(folder: Path, prepare: PrepareSettings) -> Path:
    """Where the samples lie that are made of a climate in one way."""
    return folder / f"samples-{settings_hash(prepare)}"


def make_samples(folder: Path, prepare: PrepareSettings, say: Say) -> Path:
    """Prepare the samples of a climate, if they are not there; returns their folder.

    Raises:
        InputError: If the climate does not allow them.
    """
    samples = samples_folder(folder, prepare)
    if not (samples / INDEX_NAME).is_file():
        archive = open_archive(folder / ARCHIVE_NAME)
        prepare_samples(archive, open_class_map(folder / LABELS_NAME), samples, prepare)
        say(f"samples: {samples}")
    return samples
