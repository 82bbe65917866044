"""How a batch is spread over devices and hosts; the network learns the same from it on any number.

In: what the user asked for and what the backend sees. Out: an object that trains and evaluates a
compiled network on batches: `OneDevice` here, `engine.devices.sharding` on JAX, `engine.devices.replicas` on
TensorFlow.
"""

import contextlib
import hashlib
import json

import keras
import numpy as np
from keras.ops import convert_to_numpy

from brats.errors import InputError, shortened
from engine.devices.backend import build_predictor


class OneDevice:
    """One device of one host: batches go to Keras as they are.

    Attributes:
        num_devices: Devices that a batch is spread over, on all hosts, int.
        num_hosts: Hosts that train together, int.
        host: Which of them this is, int.
    """

    num_devices = num_hosts = 1
    host = 0

    @property
    def is_first(self):
        """Whether this is host 0, which writes the run folder."""
        return self.host == 0

    def scope(self):
        """Returns the context manager to build and compile the network in."""
        return contextlib.nullcontext()

    def adopt(self, model):
        """Makes a compiled network ready for `train` and `evaluate`."""

    def share(self, num_patches):
        """Returns which patches of a batch this host reads.

        Args:
            num_patches: Patches in the batch, int.

        Returns:
            A slice: a part of its own, of one length on all hosts, if the batch divides evenly by
            the devices, or else the whole batch, which every device then computes.
        """
        if num_patches % self.num_devices:
            return slice(None)
        length = num_patches // self.num_hosts
        return slice(self.host * length, (self.host + 1) * length)

    def train(self, model, batch, num_patches):
        """Takes a step of training.

        Args:
            model: The network.
            batch: Arrays of this host's `share` of the batch: images, classes, mirrored.
            num_patches: Patches in the batch over all hosts, int.

        Returns:
            The loss, a float.
        """
        return float(model.train_on_batch(*batch, return_dict=True)["loss"])

    def evaluate(self, model, batch, num_patches):
        """Computes loss and metrics of a batch `(images, classes)`; like `train` otherwise."""
        return float(model.test_on_batch(*batch, return_dict=True)["loss"])

    def sums(self, model):
        """Returns the variables of the metrics after the last batch, a list of floats."""
        return [float(convert_to_numpy(variable)) for variable in model.metrics_variables]

    def build_predictor(self, model):
        """Builds the function from images `(N, H, W, M)` to what the network says of them now."""
        return build_predictor(lambda: model)

    def agreeing(self, is_interrupted):
        """Returns a function like `is_interrupted` with one answer after a batch on all hosts."""
        return is_interrupted

    def first_of(self, arrays):
        """Returns host 0's arrays, a list; all hosts give some of the same shapes."""
        return arrays

    def all_of(self, array):
        """Returns the arrays of all hosts, `(num_hosts, ...)`, of one shape."""
        return array[None]

    def first_text(self, text):
        """Returns host 0's text."""
        return text

    def check_same(self, settings):
        """Checks that all hosts were started with the same settings.

        Args:
            settings: Dict that JSON can hold.

        Raises:
            InputError: If not; names those that differ and both values.
        """
        text = json.dumps(settings)
        digests = self.all_of(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
        others = np.flatnonzero((digests != digests[0]).any(axis=1))
        if not others.size:
            return
        settings, first = json.loads(text), json.loads(self.first_text(text))
        if self.host not in others:
            raise InputError(
                f"Hosts started with other settings than host 0: {', '.join(map(str, others))}. "
                "Their messages tell which. Start all with the same ones."
            )
        differences = [
            f"{name} is {shortened(settings.get(name))}, there {shortened(first.get(name))}"
            for name in sorted(settings.keys() | first.keys())
            if settings.get(name) != first.get(name)
        ]
        raise InputError(
            f"Host {self.host} was started with other settings than host 0: "
            f"{'; '.join(differences)}. Start all with the same ones."
        )


ONE_DEVICE = OneDevice()


def choose_devices(wanted=None):
    """Chooses the devices to train on, before a network is built.

    Args:
        wanted: Devices to use on each host, int, or None: all under JAX, one elsewhere.

    Returns:
        A `OneDevice`, or one of its kind for several; under JAX for one as well, whose steps take
        less time than Keras' (`docs/results.md`).

    Raises:
        InputError: If the backend sees fewer devices, or trains on one only.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        from engine.devices.sharding import ShardedDevices, local_devices

        return ShardedDevices(len(_first(local_devices(), wanted)))
    if wanted in (None, 1):
        return ONE_DEVICE
    if backend == "tensorflow":
        from engine.devices.replicas import Replicas, local_devices

        return Replicas(_first(local_devices(), wanted))
    raise InputError(
        f"--devices is {wanted}, and under {backend} training runs on one device. Leave the flag "
        "out, or set KERAS_BACKEND to jax, which uses all, or to tensorflow."
    )


def check_batch_size(batch_size, devices):
    """Checks that every device gets as many patches of a batch as any other.

    Raises:
        InputError: If not; proposes the nearest sizes.
    """
    number = devices.num_devices
    rest = batch_size % number
    if rest:
        sizes = [size for size in (batch_size - rest, batch_size - rest + number) if size]
        raise InputError(
            f"--batch-size is {batch_size}, which {number} devices cannot share evenly. Make it "
            f"{' or '.join(map(str, sizes))}, or use fewer --devices."
        )


def _first(devices, wanted):
    """Returns the first of the devices, as many as wanted."""
    if (wanted or 1) > len(devices):
        names = ", ".join(map(str, devices))
        raise InputError(
            f"--devices is {wanted}, and {keras.backend.backend()} sees {len(devices)}: {names}. "
            "Ask for fewer."
        )
    return devices[:wanted]
