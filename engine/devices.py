"""What the network runs on, and the settings that follow from it.

In: the backend that Keras was started with. Out: names for the record, and the compilation and
precision that suit the device.
"""

import keras


def describe_device():
    """Returns the backend and its devices, such as "tensorflow on cpu:0"."""
    return f"{keras.backend.backend()} on {', '.join(keras.distribution.list_devices())}"


def has_gpu():
    """Returns whether the backend sees a GPU."""
    return any("gpu" in name or "cuda" in name for name in keras.distribution.list_devices())


def training_compilation():
    """Returns `jit_compile` for training: off on a CPU under TensorFlow, where XLA is slower."""
    return "auto" if keras.backend.backend() != "tensorflow" or has_gpu() else False


def mixed_precision_policy():
    """Returns the 16-bit policy of the device: float16 on a GPU, bfloat16 elsewhere."""
    return "mixed_float16" if has_gpu() else "mixed_bfloat16"
