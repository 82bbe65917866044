"""What the network runs on, and the settings that follow from it.

In: the backend that Keras was started with. Out: names for the record, and the compilation and
precision that suit the device.
"""

import ctypes

import keras

# Parameters of glibc's mallopt, and the values that keep_freed_memory sets.
MALLOC_SETTINGS = {
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: hardly ever shrink the heap.
    -2: 64 * 2**20,  # M_TOP_PAD: grow it in large steps.
    -4: 0,  # M_MMAP_MAX: no mapping of its own for a large block.
    -8: 1,  # M_ARENA_MAX: one heap for all threads.
}


def keep_freed_memory():
    """Makes the C library keep the memory that is freed, for the next allocation.

    TensorFlow's generator data sets set the trim threshold to 128 kB, and glibc then maps every
    larger tensor anew at every step, at the cost that `docs/results.md` shows. Does nothing where
    the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, value in MALLOC_SETTINGS.items() if mallopt else ():
        mallopt(parameter, value)


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
