"""Times training steps on virtual devices and on hosts of one machine, and counts what they send.

In: nothing; the script makes patches of noise. Out: a table on stdout. All devices share the cores
of the machine, so a batch takes no less time on more of them. What it takes more is the cost of
sharing. Bytes are what one host sends over the loopback network in a step.

    KERAS_BACKEND=jax python benchmarks/many_devices.py
    KERAS_BACKEND=tensorflow python benchmarks/many_devices.py --hosts 1
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import print_header


def main():
    """Prints the table, or trains as one of the hosts of a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4], help="of one host")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2], help="of one device")
    parser.add_argument("--base-filters", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--as-host", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_host:
        print(json.dumps(train(options, **options.as_host)))
        return
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    print_header("Many devices", options, "keras", backend)
    rows = [(number, 1) for number in options.devices]
    rows += [(1, number) for number in options.hosts if number > 1]
    found = {row: [] for row in rows}
    for _ in range(options.runs):
        for row in rows:
            found[row].append(run(options, *row))
    reference = None
    for (num_devices, num_hosts), results in found.items():
        seconds, sent, losses = zip(*results, strict=True)
        median = statistics.median(seconds)
        reference = reference or (median, losses[0])
        difference = max(abs(a - b) for a, b in zip(losses[0], reference[1], strict=True))
        print(
            f"{num_hosts} hosts of {num_devices} devices  {1e3 * median:7.1f} ms per step "
            f"({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}), {median / reference[0]:.2f} "
            f"times the first row's;  {statistics.median(sent) / 1e6:6.2f} MB sent;  losses "
            f"differ by {difference:.1e} at most"
        )


def run(options, num_devices, num_hosts):
    """Trains once; returns seconds per step, bytes that a host sends per step, and the losses."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        address = f"localhost:{listening.getsockname()[1]}"
    arguments = ["--base-filters", options.base_filters, "--batch-size", options.batch_size]
    arguments += ["--steps", options.steps]
    processes = []
    for host in range(num_hosts):
        place = {"address": address, "num_hosts": num_hosts, "host": host}
        place = json.dumps(place | {"num_devices": num_devices})
        command = [sys.executable, __file__, *map(str, arguments), "--as-host", place]
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}"}
        processes.append(
            subprocess.Popen(command, env=os.environ | flags, stdout=subprocess.PIPE, text=True)
        )
    outputs = [process.communicate()[0] for process in processes]
    seconds, sent, losses = json.loads(outputs[0].splitlines()[-1])
    return seconds, sent / num_hosts, losses


def train(options, address, num_hosts, host, num_devices):
    """Trains two epochs as one host; returns time and bytes of the second, losses of the first."""
    make_virtual_devices(num_devices)
    from benchmarks.measure import write_noise
    from benchmarks.training_step import build_compiled
    from brats.patches.reader import PatchReader
    from brats.patches.set import open_patches
    from engine.devices.backend import prepare_training
    from engine.devices.choose import choose_devices
    from engine.devices.hosts import Group, joining
    from engine.runs.state import Progress
    from engine.training.epochs import train_epoch

    with joining(Group(address, num_hosts, host)), tempfile.TemporaryDirectory() as folder:
        prepare_training(0, mixed_precision=False, deterministic=False)
        devices = choose_devices(num_devices)
        model = build_compiled(options.base_filters, devices)
        reader = PatchReader(open_patches([write_noise(folder)]))
        arguments = model, reader, options.batch_size, options.steps, 0
        losses = []
        train_epoch(*arguments, Progress(), losses.append, devices)
        before, start = loopback_bytes(), time.perf_counter()
        train_epoch(*arguments, Progress(history=[{}]), devices=devices)
        seconds = (time.perf_counter() - start) / options.steps
        return seconds, (loopback_bytes() - before) / options.steps, losses


def make_virtual_devices(number):
    """Makes TensorFlow see that many CPUs; for JAX, a variable does."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow

        (cpu,) = tensorflow.config.list_physical_devices("CPU")
        tensorflow.config.set_logical_device_configuration(
            cpu, number * [tensorflow.config.LogicalDeviceConfiguration()]
        )


def loopback_bytes():
    """Returns the bytes that were sent over the loopback network since the machine started."""
    (line,) = (
        line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip()[:3] == "lo:"
    )
    return int(line.split()[1])


if __name__ == "__main__":
    main()
