"""The choice of devices to train on.

In: --devices and what the backend sees. Out: a `OneDevice`, or its kind for several devices.
"""

import keras

from brats.errors import InputError
from engine.devices.one import ONE_DEVICE


def choose_devices(wanted=None):
    """Chooses the devices to train on. Call it before the network is built.

    Args:
        wanted: Devices to use on each host, int; or None: all under JAX, one elsewhere.

    Returns:
        A `OneDevice` or a subclass. Under JAX `ShardedDevices` has faster steps for one device too.

    Raises:
        InputError: If the backend sees fewer devices, or trains on one only.
    """
    backend = keras.backend.backend()
    # Only the modules of the backend in use are imported.
    if backend == "jax":
        import jax

        from engine.devices.sharding import ShardedDevices

        return ShardedDevices(len(_first(jax.local_devices(), wanted)))
    if wanted in (None, 1):
        return ONE_DEVICE
    if backend == "tensorflow":
        from tensorflow.config import list_logical_devices

        from engine.devices.replicas import Replicas

        devices = list_logical_devices("GPU") or list_logical_devices("CPU")
        return Replicas(_first([device.name for device in devices], wanted))
    raise InputError(
        f"--devices is {wanted}, but {backend} trains on one device. Leave the flag out, or set "
        "KERAS_BACKEND to jax or tensorflow."
    )


def check_batch_size(batch_size, devices):
    """Checks that all devices get equally many patches of a batch.

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
    """Returns the first `wanted` devices, or all if it is None."""
    if (wanted or 1) > len(devices):
        raise InputError(
            f"--devices is {wanted}, but {keras.backend.backend()} sees {len(devices)}: "
            f"{', '.join(map(str, devices))}. Ask for fewer, or leave the flag out."
        )
    return devices[:wanted]
