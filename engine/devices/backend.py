"""What differs between backends and devices.

In: the backend that Keras was started with. Out: names for the record, the compilation and the
precision that suit the device, and the fastest way to run a network on it.
"""

import contextlib
import functools
import os
import sys

import keras

from brats.errors import InputError
from brats.provenance import describe_source

# In small letters: what TensorFlow, JAX, PyTorch and OpenVINO say when they run out of memory.
OUT_OF_MEMORY = ("resourceexhausted", "resource_exhausted", "out of memory", "outofmemory")
OUT_OF_MEMORY += ("can't allocate memory", "failed to allocate", "bad_alloc", "alloc_failed")
# Variables with the number of threads of an operation. The default is all cores of the process.
THREADS = {"tensorflow": "TF_NUM_INTRAOP_THREADS", "jax": "NPROC"}


def describe_device():
    """Returns the backend and its devices, such as "tensorflow on cpu:0 (4 threads)"."""
    # On a CPU, sums over another number of threads round differently.
    threads = "" if _has_gpu() else f" ({_num_threads()} threads)"
    return f"{keras.backend.backend()} on {', '.join(_list_devices())}{threads}"


def describe_software():
    """Returns a dict of the device, the versions of the packages and the commit."""
    source = describe_source("keras", keras.backend.backend(), "numpy", "h5py", "SimpleITK")
    return {"device": describe_device()} | source


def training_compilation():
    """Returns `jit_compile` for training: off for TensorFlow on a CPU, where XLA is slower."""
    return "auto" if keras.backend.backend() != "tensorflow" or _has_gpu() else False


def check_can_train():
    """Raises an `InputError` if the backend does not train."""
    if keras.backend.backend() == "openvino":
        raise InputError(
            "KERAS_BACKEND is openvino, which does not train. Train with another backend, and "
            "predict with openvino."
        )


def prepare_training(seed, mixed_precision, deterministic):
    """Seeds Keras and sets how operations compute. Call it before anything uses the device.

    Args:
        seed: Seed of the weights, int.
        mixed_precision: Whether to compute in 16 bits: float16 on a GPU, bfloat16 elsewhere.
        deterministic: Whether operations have to give the same bits every time, on a GPU as well.

    Raises:
        InputError: If the backend cannot be made deterministic.
    """
    backend = keras.backend.backend()
    keras.utils.set_random_seed(seed)
    if deterministic and backend == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif deterministic and backend == "jax":
        # XLA reads its flags once, when the device is first used.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    elif deterministic:
        raise InputError(
            f"--deterministic needs TensorFlow or JAX, but KERAS_BACKEND is {backend}. Choose one "
            "of them, or leave the flag out."
        )
    if mixed_precision:
        keras.config.set_dtype_policy("mixed_float16" if _has_gpu() else "mixed_bfloat16")


@contextlib.contextmanager
def naming_batch_size(batch_size):
    """Turns the error of a backend or of NumPy that has no memory left into an `InputError`."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower()
        if not isinstance(error, MemoryError) and not any(sign in text for sign in OUT_OF_MEMORY):
            raise
        raise InputError(
            f"Out of memory with --batch-size {batch_size} and {describe_device()}. Give a smaller "
            "one, or use a device with more memory."
        ) from error


def box_rounding():
    """Returns the pixels that prediction rounds the sides of boxes to."""
    # XLA compiles every shape. One graph of TensorFlow or OpenVINO serves all shapes.
    return 8 if keras.backend.backend() in ("tensorflow", "openvino") else 32


def build_predictor(build_network):
    """Returns the fastest function from a batch to what a network says of it.

    Args:
        build_network: Function without arguments that returns a Keras model. It is called with the
            first batch, so a network that no slice needs takes no memory.

    Returns:
        Function from float32 images `(N, H, W, M)`, of any height and width, to the network's
        output or outputs.
    """

    @functools.cache
    def predictor():
        compilers = {"openvino": _compile_openvino, "tensorflow": _trace_tensorflow}
        compiler = compilers.get(keras.backend.backend(), lambda build: build().predict_on_batch)
        return compiler(build_network)

    return lambda images: predictor()(images)


def _has_gpu():
    return any("gpu" in name or "cuda" in name for name in _list_devices())


def _list_devices():
    """Returns the names of the devices. Keras lists those of TensorFlow and JAX only."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu:0"]
    return ["cpu:0"] if backend == "openvino" else keras.distribution.list_devices()


def _num_threads():
    """Returns the threads of an operation on a CPU."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_num_threads()
    wanted = os.environ.get(THREADS.get(keras.backend.backend(), ""), "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    # macOS does not say which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _trace_tensorflow(build_network):
    """Makes one plain graph for all shapes. XLA would compile each, and is slower on a CPU."""
    import tensorflow

    network = build_network()
    shape = tensorflow.TensorSpec([None, None, None, network.input.shape[-1]])
    return tensorflow.function(lambda images: network(images, training=False), [shape])


def _compile_openvino(build_network):
    """Compiles a network for all shapes. Keras would compile it for every height and width."""
    # Keras imports TensorFlow, if it is installed, to copy a layer: 0.6 GB for nothing.
    sys.modules.setdefault("tensorflow", None)
    import openvino

    # The tensors of Keras' backend are not public, but a parameter has to become one.
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino import opset16

    network = build_network()
    images = opset16.parameter([-1, -1, -1, network.input.shape[-1]], openvino.Type.f32)
    outputs = network(OpenVINOKerasTensor(images.output(0)), training=False)
    several = isinstance(outputs, list)
    results = [opset16.result(x.output) for x in (outputs if several else [outputs])]
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # The default is 16 bits where the processor has them.
        "CPU_RUNTIME_CACHE_CAPACITY": "0",  # It would keep what it prepared for every shape.
    }
    compiled = openvino.compile_model(openvino.Model(results, [images]), "CPU", settings)
    return lambda slices: compiled([slices]).to_tuple() if several else compiled([slices])[0]
