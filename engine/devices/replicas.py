"""Training on several GPUs of one host under TensorFlow, with a replica of the network on each.

In: a compiled network and batches. Out: what `OneDevice` gives, up to the rounding of sums.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from engine.devices.one import OneDevice


class Replicas(OneDevice):
    """Several devices of one host, with the methods of `OneDevice`.

    Args:
        names: List of the names of the devices.
    """

    def __init__(self, names):
        self.num_devices = len(names)
        self._strategy = tf.distribute.MirroredStrategy(names)

    def scope(self):
        return self._strategy.scope()

    def adopt(self, model):
        """Makes layers and loss sum over all replicas, see `OneDevice`."""
        # Keras builds the metrics by the shapes of the first batch, which its parts do not have.
        side = 2 ** model.settings["depth"]
        images = np.zeros((1, side, side, model.input.shape[-1]), np.float32)
        with self.scope():
            model.optimizer.build(model.trainable_variables)
            model.test_on_batch(images, images[..., 0])
        # The twin, on one device, evaluates batches that the replicas cannot share evenly.
        self._twin = type(model).from_config(model.get_config())
        self._twin.compile_from_config(model.get_compile_config())
        model.loss.sum_over_devices = _sum_over_replicas
        if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            check = model.optimizer.check_finite
            model.optimizer.check_finite = functools.partial(_is_finite_everywhere, check)
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.synchronized = True
            elif isinstance(layer, layers.GaussianNoise):
                layer.call = functools.partial(_add_share_of_noise, layer)

    def train(self, model, batch, num_patches):
        self._evaluated = model
        return super().train(model, self._spread(batch), num_patches)

    def evaluate(self, model, batch, num_patches):
        self._evaluated = self._twin if num_patches % self.num_devices else model
        if self._evaluated is model:
            batch = self._spread(batch)
        else:
            self._twin.set_weights(model.get_weights())
        return super().evaluate(self._evaluated, batch, num_patches)

    def sums(self, model):
        return super().sums(self._evaluated)

    def _spread(self, batch):
        """Gives every replica its part of each array."""
        parts = [np.split(array, self.num_devices) for array in batch]
        return [
            self._strategy.experimental_distribute_values_from_function(
                lambda context, part=part: part[context.replica_id_in_sync_group]
            )
            for part in parts
        ]


def _sum_over_replicas(tensor):
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def _is_finite_everywhere(check, gradients):
    """Returns whether the gradients of all replicas are finite. Keras asks the first one only."""
    num_others = _sum_over_replicas(tf.cast(tf.logical_not(check(gradients)), tf.float32))
    return tf.equal(num_others, 0)


def _add_share_of_noise(layer, inputs, training=False):
    """Draws the noise that one device would add to the batch, and adds this replica's part."""
    if not training:
        return inputs
    context = tf.distribute.get_replica_context()
    size, number = tf.shape(inputs)[0], context.num_replicas_in_sync
    shape = (size * number, *inputs.shape[1:])
    noise = keras.random.normal(
        shape, 0.0, layer.stddev, dtype=layer.compute_dtype, seed=layer.seed_generator
    )
    start = size * context.replica_id_in_sync_group
    return inputs + noise[start : start + size]
