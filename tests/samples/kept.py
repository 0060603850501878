"""Batches copied as they come: a loader fills them again when the next is asked for."""

from exastorm.samples.batch import Batch


def kept(batches):
    return [Batch(*(tensor.clone() for tensor in batch)) for batch in batches]
