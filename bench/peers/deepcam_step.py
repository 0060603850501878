"""Training steps of MLPerf's DeepCAM reference on the CPU, as JSON.

    python bench/peers/deepcam_step.py HPC/deepcam/src/deepCam NUM_STEPS

HPC is a checkout of github.com/mlcommons/hpc. The network, its weighted cross-entropy and batch 1
are the reference's, Adam is torch's; samples are noise. Operations are counted as our own are.
"""

import json
import sys
import time

import torch

from exastorm.networks.operations import count_layers
from exastorm.performance.timing import peak_memory_mb

NUM_CHANNELS, NUM_CLASSES = 16, 3
HEIGHT, WIDTH = 768, 1152  # it runs on no other grid
# Its train.py: frequencies to the power of -1/8.
FREQUENCIES = (0.986267818390377, 0.0004578708870701058, 0.01327431072255291)


def main(folder, num_steps):
    sys.path.insert(0, folder)
    from architecture.deeplab_xception import DeepLabv3_plus

    torch.manual_seed(0)
    network = DeepLabv3_plus(n_input=NUM_CHANNELS, n_classes=NUM_CLASSES, os=16, _print=False)
    table = count_layers(network, NUM_CHANNELS, HEIGHT, WIDTH)
    network.train()
    weight = torch.tensor([f**-0.125 for f in FREQUENCIES])
    criterion = torch.nn.CrossEntropyLoss(weight=weight, reduction="none")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    fields = torch.randn(1, NUM_CHANNELS, HEIGHT, WIDTH)
    labels = torch.randint(0, NUM_CLASSES, (1, HEIGHT, WIDTH))

    def step():
        optimizer.zero_grad()
        torch.mean(criterion(network(fields), labels)).backward()
        optimizer.step()

    step()
    times = []
    cpu_start = time.process_time()
    for _ in range(num_steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    cpu_s = (time.process_time() - cpu_start) / num_steps
    tflop = table.totals()["training_tflop_needed"]
    figures = {
        "step_ms": 1e3 * min(times),
        "step_cpu_s": cpu_s,
        "tflop_per_sample": tflop,
        "tflop_per_s": tflop / min(times),
        "peak_memory_mb": peak_memory_mb(torch.device("cpu")),
        "num_parameters": sum(p.numel() for p in network.parameters()),
        "num_threads": torch.get_num_threads(),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
