"""One device, and what every choice of devices has to offer.

In: a compiled network and batches. Out: trained variables, losses and sums of the metrics.
`engine.devices.sharding` extends this to JAX, `engine.devices.replicas` to TensorFlow.
"""

import contextlib
import json

from keras.ops import convert_to_numpy

from brats.errors import InputError, shortened
from engine.devices.backend import build_predictor


class OneDevice:
    """One device of one host. Keras gets each batch as it is.

    Attributes:
        num_devices: Devices that share a batch, over all hosts, int.
        num_hosts: Hosts that train together, int.
        host: Index of this host, from 0.
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
        """Prepares a compiled network for `train` and `evaluate`."""

    def share(self, num_patches):
        """Returns the slice of a batch of `num_patches` that this host reads.

        If the devices can share the batch evenly, every host gets its own part, all of one length.
        If not, every host gets the complete batch, and every device computes it.
        """
        if num_patches % self.num_devices:
            return slice(None)
        length = num_patches // self.num_hosts
        return slice(self.host * length, (self.host + 1) * length)

    def train(self, model, batch, num_patches):
        """Takes a step of training and returns the loss, a float.

        Args:
            model: The network.
            batch: Arrays of this host's `share` of the batch: images, classes, mirrored.
            num_patches: Patches in the batch over all hosts, int.
        """
        return float(model.train_on_batch(*batch, return_dict=True)["loss"])

    def evaluate(self, model, batch, num_patches):
        """Computes loss and metrics of a batch `(images, classes)`. Otherwise like `train`."""
        return float(model.test_on_batch(*batch, return_dict=True)["loss"])

    def sums(self, model):
        """Returns the variables of the metrics after the last batch, a list of floats."""
        return [float(convert_to_numpy(variable)) for variable in model.metrics_variables]

    def build_predictor(self, model):
        """Returns a function from images `(N, H, W, M)` to what the network says of them now."""
        return build_predictor(lambda: model)

    def agreeing(self, is_interrupted):
        """Returns a function that says, after a batch, whether any host `is_interrupted`."""
        return is_interrupted

    def first_of(self, arrays):
        """Returns host 0's list of arrays. All hosts pass arrays of the same shapes."""
        return arrays

    def first_text(self, text):
        """Returns host 0's text."""
        return text

    def any_of(self, value):
        """Returns whether a bool is true on any host."""
        return value

    def check_same(self, settings):
        """Checks that all hosts were started with the same settings, a dict that JSON can hold.

        Raises:
            InputError: If not, on all hosts; names the settings that differ and both values.
        """
        text = json.dumps(settings)
        first = self.first_text(text)
        if not self.any_of(text != first):
            return
        settings, first = json.loads(text), json.loads(first)
        differences = [
            f"{name} is {shortened(settings.get(name))} here and {shortened(first.get(name))} there"
            for name in sorted(settings.keys() | first.keys())
            if settings.get(name) != first.get(name)
        ]
        found = "; ".join(differences) or "see the messages of the other hosts"
        raise InputError(
            f"Not all hosts have the settings of host 0. Host {self.host}: {found}. Start all with "
            "the same settings."
        )


ONE_DEVICE = OneDevice()
