"""Where and how a training computes, and that it leaves torch as it found it."""

import pytest
import torch

from exastorm.errors import InputError
from exastorm.train.device import ComputeSettings, compute_mode, plan_compute

CPU = {"device": "cpu", "num_threads": 2}


def test_a_cpu_keeps_rows_together_and_compiles_nothing_unless_told():
    plan = plan_compute(ComputeSettings(**CPU), 4)
    assert (plan.memory_format, plan.compile) == (torch.contiguous_format, "off")
    told = plan_compute(ComputeSettings(**CPU, memory_format="channels_last", compile="on"), 4)
    assert (told.memory_format, told.compile) == (torch.channels_last, "on")
    # One thread traces.
    assert (told.num_workers, told.threads_each) == (1, 2)


def test_weights_lie_as_features_do():
    plan = plan_compute(ComputeSettings(**CPU, memory_format="channels_last"), 1)
    network = plan.place(torch.nn.Conv2d(4, 8, 3))
    assert network.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_graphs_need_a_gpu():
    with pytest.raises(InputError, match="compile must be auto, off or on without a GPU"):
        plan_compute(ComputeSettings(compile="cuda_graphs"), 4)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("tensor_float32", [True, False])
def test_kernels_are_chosen_and_put_back(deterministic, tensor_float32):
    settings = ComputeSettings(**CPU, deterministic=deterministic, tensor_float32=tensor_float32)
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul

    def kernels():
        return cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32, torch.get_num_threads()

    before = kernels()
    with compute_mode(settings, plan_compute(settings, 4)):
        assert cudnn.allow_tf32 is tensor_float32
        assert products.allow_tf32 is tensor_float32
        assert cudnn.benchmark is not deterministic
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.get_num_threads() == 2
    assert kernels() == before
