"""Training on several devices and hosts under JAX. XLA adds up sums over the batch.

In: a compiled network and each host's share of the batches. Out: what `OneDevice` gives, up to the
rounding of sums, on every host.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from brats.errors import InputError
from engine.devices.backend import build_predictor
from engine.devices.one import OneDevice


class ShardedDevices(OneDevice):
    """One or several devices of each host, `per_host`, with the methods of `OneDevice`.

    The variables of the network hold arrays that lie on all devices. All hosts must assign the
    same values to them.
    """

    def __init__(self, per_host):
        self.num_hosts, self.host = jax.process_count(), jax.process_index()
        self.num_devices = per_host * self.num_hosts
        by_host = [
            [device for device in jax.devices() if device.process_index == host]
            for host in range(self.num_hosts)
        ]
        numbers = [len(devices) for devices in by_host]
        if len(set(numbers)) > 1:
            raise InputError(
                f"The hosts have {', '.join(map(str, numbers))} devices; expected the same number "
                "on each. Hide some, for example with CUDA_VISIBLE_DEVICES."
            )
        devices = np.concatenate([devices[:per_host] for devices in by_host])
        mesh = jax.sharding.Mesh(devices, ("patches",))
        self._shared = NamedSharding(mesh, PartitionSpec("patches"))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._per_host = per_host
        self._is_interrupted, self._is_agreed = lambda: False, False

    def adopt(self, model):
        """Compiles the steps, and builds what Keras would build with the first batch."""
        probabilities = np.full((1, 1, 1, model.output.shape[-1]), 0.25, np.float32)
        model.compute_metrics(None, probabilities[..., 0], probabilities)
        model.optimizer.build(model.trainable_variables)
        self._train = self._compiled(model.train_step)
        self._evaluate = self._compiled(model.test_step)

    def train(self, model, batch, num_patches):
        return self._run(self._train, model, [model.optimizer.variables], batch, num_patches)

    def evaluate(self, model, batch, num_patches):
        return self._run(self._evaluate, model, [], (*batch, None), num_patches)

    def sums(self, model):
        return [float(value) for value in self._sums]

    def build_predictor(self, model):
        """With several hosts, each has a copy of the network, so that one of them can use it."""
        if self.num_hosts == 1:
            return super().build_predictor(model)
        twin = type(model).from_config(model.get_config())
        predict = build_predictor(lambda: twin)

        def predict_now(images):
            twin.set_weights(model.get_weights())
            return predict(images)

        return predict_now

    def agreeing(self, is_interrupted):
        if self.num_hosts == 1:
            return is_interrupted
        self._is_interrupted = is_interrupted
        return lambda: self._is_agreed

    def first_of(self, arrays):
        return multihost_utils.broadcast_one_to_all(arrays)

    def first_text(self, text):
        content = np.frombuffer(text.encode(), np.uint8)
        (length,) = self.first_of([np.int32(len(content))])
        (content,) = self.first_of([np.resize(content, int(length))])
        return content.tobytes().decode()

    def any_of(self, value):
        return bool(multihost_utils.process_allgather(np.array(value)).any())

    def _compiled(self, step):
        """Compiles a step that also returns whether any host was interrupted, at no extra cost."""

        def step_and_agree(state, batch, interrupted):
            logs, state = step(state, batch)
            return logs["loss"], state, interrupted.any()

        return jax.jit(step_and_agree, donate_argnums=0, out_shardings=self._everywhere)

    def _run(self, step, model, more_variables, batch, num_patches):
        variables = [model.trainable_variables, model.non_trainable_variables, *more_variables]
        metrics = [np.zeros(each.shape, each.dtype) for each in model.metrics_variables]
        values = [[variable.value for variable in group] for group in variables]
        state = jax.tree.map(self._replicate, (*values, metrics))
        interrupted = np.full(self._per_host, self._is_interrupted())
        interrupted = jax.make_array_from_process_local_data(self._shared, interrupted)
        place = self._replicate if num_patches % self.num_devices else self._part
        loss, (*values, self._sums), is_agreed = step(
            state, jax.tree.map(place, batch), interrupted
        )
        for variable, array in zip(sum(variables, []), sum(values, []), strict=True):
            variable.assign(array)
        self._is_agreed = bool(is_agreed)
        return float(loss)

    def _part(self, array):
        return jax.make_array_from_process_local_data(self._shared, array)

    def _replicate(self, array):
        """Puts an array on every device, unless it is there already."""
        if isinstance(array, jax.Array) and array.sharding == self._everywhere:
            return array
        return jax.make_array_from_process_local_data(self._everywhere, np.asarray(array))
