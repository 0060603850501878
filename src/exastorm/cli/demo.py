"""`exastorm demo`: the main job end to end on the made-up climate, with its figures in one file.

Every step calls the function behind its own command, so that the demo shows nothing that the
commands could not do on another archive.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

import exastorm
from exastorm.cli.command import Command, Outcome
from exastorm.cli.evaluate import iou_table
from exastorm.cli.settings import load_sections
from exastorm.cli.synthesize import synthesize
from exastorm.labels.archive import label_archive
from exastorm.labels.settings import LabelSettings
from exastorm.parallel.world import World
from exastorm.predict.run import segment_archive
from exastorm.predict.settings import SegmentSettings
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.storms.census import take_census
from exastorm.storms.compare import compare_class_maps
from exastorm.storms.settings import CensusSettings
from exastorm.train.baseline import evaluate_baseline
from exastorm.train.evaluate import evaluate
from exastorm.train.loop import train
from exastorm.train.settings import TrainSettings
