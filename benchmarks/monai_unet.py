"""Times MONAI's 2-D residual UNet on PyTorch: what many would take instead of this network.

In: nothing. Out: one table on stdout: patches per second of training steps and seconds of one
volume, 155 slices of 240 x 240, with as many filters as give the FLOPs of our network at most.
Needs `pip install torch monai`; the numbers to set beside are those of `training_step.py` and
`prediction.py`.

    python benchmarks/monai_unet.py
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import in_turn, peak_gflops, print_header, print_rates

FORWARD_GFLOP = 25.41  # Of our network, full size, on one patch of 128 x 128.
NUM_SLICES = 155


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--slices", type=int, default=NUM_SLICES)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("MONAI UNet on PyTorch", options, "torch", "monai")
    filters = max(
        number for number in range(8, 257, 4) if forward_gflop(build_unet(number)) <= FORWARD_GFLOP
    )
    gflop = forward_gflop(build_unet(filters))
    print(f"{filters} filters at the first level, {gflop:.1f} GFLOP per patch forward")
    network = build_unet(filters)
    steps = training_steps(network, options.batch_size, options.steps)
    steps()  # Warms up.
    amount = options.batch_size * options.steps
    elapsed = in_turn({"training step": steps}, options.runs)
    print_rates("patches/s", amount, elapsed)
    rate = 3 * gflop * amount / statistics.median(elapsed["training step"])
    print(f"{rate:.0f} GFLOP/s, {rate / peak_gflops():.0%} of a float32 matrix product")
    volume = volume_prediction(network, options.slices)
    elapsed = in_turn({"prediction": volume}, options.runs)
    print_rates("volumes/s", options.slices / NUM_SLICES, elapsed)
    seconds = statistics.median(elapsed["prediction"]) * NUM_SLICES / options.slices
    print(f"{seconds:.1f} s per volume of {NUM_SLICES} whole slices")


def build_unet(filters):
    """Builds a UNet of four levels with two residual units each, as in ours."""
    return UNet(
        spatial_dims=2,
        in_channels=4,
        out_channels=4,
        channels=tuple(filters * 2**level for level in range(4)),
        strides=(2, 2, 2),
        num_res_units=2,
    )


def forward_gflop(network):
    """Returns the GFLOP of one patch through the network."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 4, 128, 128))
    return counter.get_total_flops() / 1e9


def training_steps(network, batch_size, num_steps):
    """Returns a function that takes steps on one batch that stays in memory."""
    images = torch.randn(batch_size, 4, 128, 128)
    classes = torch.randint(0, 4, (batch_size, 1, 128, 128))
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.008, momentum=0.9)

    def run():
        network.train()
        for _ in range(num_steps):
            optimizer.zero_grad()
            loss(network(images), classes).backward()
            optimizer.step()

    return run


def volume_prediction(network, num_slices):
    """Returns a function that runs whole slices through the network, two at a time."""
    images = torch.randn(2, 4, 240, 240)

    def run():
        network.eval()
        with torch.no_grad():
            for _ in range(0, num_slices, 2):
                network(images).argmax(dim=1)

    return run


if __name__ == "__main__":
    main()
