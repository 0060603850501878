"""Small prepared samples whose classes can be read off the fields around a pixel."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from exastorm.parallel.cluster import Cluster
from exastorm.readers.schema import CLASS_ATTRS, DIMS, mock_dataset
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.train.checkpoint import CheckpointSettings, CheckpointStore
from exastorm.train.loop import Trainer
from exastorm.train.run import train

NUM_LAT, NUM_LON, NUM_TIMES = 16, 24, 40


def changed(settings, **options):
    """Settings with some fields changed; `compute__num_threads=1` is a field of a part."""
    for name, value in options.items():
        part, _, field = name.partition("__")
        if field:
            value = dataclasses.replace(getattr(settings, part), **{field: value})
        settings = dataclasses.replace(settings, **{part: value})
    return settings


def last_state(run):
    """The last checkpoint of a run."""
    with CheckpointStore(run, CheckpointSettings()) as checkpoints:
        return checkpoints.load()[0]


def last_weights(run):
    """The weights in the last checkpoint of a run."""
    return last_state(run)["network"]


def train_until_killed(monkeypatch, step_number, samples, run, settings):
    """Train, and be killed when so many steps are done."""
    real_step = Trainer.step

    def step_until_killed(self, batch):
        if self.step_number == step_number:
            raise KeyboardInterrupt
        return real_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step_until_killed)
        with pytest.raises(KeyboardInterrupt):
            train(samples, run, settings, Cluster.alone())


def same(a, b):
    """Whether two states hold the same tensors, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def make_samples(folder, *, seed=0, wrong=None, num_lon=NUM_LON, thresholds=None):
    """Rivers where the smoothed moisture is high, cyclones where the smoothed pressure is low.

    With thresholds (how far from the usual ones each member of an ensemble has them) there are soft
    labels too.
    """
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(2, NUM_TIMES, NUM_LAT, num_lon))
    smooth = ndimage.gaussian_filter(
        noise, (0, 0, 1.5, 1.5), mode=["nearest", "nearest", "nearest", "wrap"]
    )
    smooth /= smooth.std()
    classes = np.zeros(smooth.shape[1:], np.int8)
    classes[smooth[0] > 1.2] = 2
    classes[smooth[1] < -1.8] = 1
    # Rough noise on the fields: a pixel alone says little, its surroundings say a lot.
    fields = {
        "TMQ": 20 + 10 * smooth[0] + 12 * generator.normal(size=smooth[0].shape),
        "PSL": 101000 + 500 * smooth[1] + 600 * generator.normal(size=smooth[1].shape),
    }
    if wrong is not None:
        fields.update(wrong)
    dataset = mock_dataset(fields, NUM_LAT, num_lon, NUM_TIMES, step_hours=12)
    labels = dataset[["time", "lat", "lon"]].assign(class_map=(DIMS, classes, CLASS_ATTRS))
    if thresholds is not None:
        flags = {
            "cyclone_share": [smooth[1] < -1.8 - t for t in thresholds],
            "river_share": [smooth[0] > 1.2 + t for t in thresholds],
        }
        labels = labels.assign({name: (DIMS, np.mean(f, axis=0)) for name, f in flags.items()})
    settings = PrepareSettings(
        channels=("TMQ", "PSL"),
        split_fractions=(0.6, 0.2, 0.2),
        block_days=1,
        gap_hours=0,
        soft_labels=thresholds is not None,
    )
    prepare_samples(dataset, labels, folder, settings)
    return folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """24 training, 8 validation and 8 test samples of 2 channels on 16 x 24 points."""
    return make_samples(tmp_path_factory.mktemp("samples") / "s")
