"""What the network runs on, and the settings that follow from it.

In: the backend that Keras was started with. Out: names for the record, the compilation and
precision that suit the device, and the fastest way to run a network on it.
"""

import functools
import os
import sys

import keras

from brats.errors import InputError
from brats.provenance import software_versions, source_commit


def describe_device():
    """Returns the backend and its devices, such as "tensorflow on cpu:0"."""
    backend = keras.backend.backend()
    return f"{backend} on {', '.join(_list_devices())}"


def describe_software():
    """Returns the device, the versions of the packages and the commit, for records and headers."""
    packages = ("keras", keras.backend.backend(), "numpy", "h5py", "SimpleITK")
    return {
        "device": describe_device(),
        "versions": software_versions(*packages),
        "commit": source_commit(),
    }


def has_gpu():
    """Returns whether the backend sees a GPU."""
    return any("gpu" in name or "cuda" in name for name in _list_devices())


def training_compilation():
    """Returns `jit_compile` for training: off on a CPU under TensorFlow, where XLA is slower."""
    return "auto" if keras.backend.backend() != "tensorflow" or has_gpu() else False


def mixed_precision_policy():
    """Returns the 16-bit policy of the device: float16 on a GPU, bfloat16 elsewhere."""
    return "mixed_float16" if has_gpu() else "mixed_bfloat16"


def check_can_train():
    """Checks that the backend trains.

    Raises:
        InputError: If it does not.
    """
    if keras.backend.backend() == "openvino":
        raise InputError(
            "KERAS_BACKEND is openvino, which does not train. Train with another, and predict with "
            "openvino."
        )


def prepare_training(seed, mixed_precision, deterministic):
    """Seeds Keras and sets how operations compute, before anything runs on the device.

    Args:
        seed: Seed of the weights, int.
        mixed_precision: Whether to compute in 16 bits.
        deterministic: Whether operations have to give the same bits every time. TensorFlow raises
            an error of its own at an operation that it has in no such form for the device.

    Raises:
        InputError: If the backend cannot be made deterministic; names those that can.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        _make_deterministic()
    if mixed_precision:
        keras.config.set_dtype_policy(mixed_precision_policy())


def box_rounding():
    """Returns the pixels that sides of boxes are rounded to in prediction.

    XLA compiles every shape, so that it pays to have few; one graph of TensorFlow or OpenVINO
    serves all.
    """
    return 8 if keras.backend.backend() in ("tensorflow", "openvino") else 32


def build_predictor(build_network):
    """Returns the fastest function from a batch to what a network says of it.

    Args:
        build_network: Function without arguments that returns a Keras model; called with the
            first batch, so that a network that no slice needs takes no memory.

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


def _make_deterministic():
    """Makes operations give the same bits every time, on a GPU as well."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif backend == "jax":
        # XLA reads its flags once, when the device is first used.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    else:
        raise InputError(
            f"--deterministic is for TensorFlow and JAX; KERAS_BACKEND is {backend}. Choose one of "
            "them, or leave the flag out."
        )


def _list_devices():
    """Returns the devices of the backend; Keras names those of TensorFlow and JAX alone."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu:0"]
    return ["cpu:0"] if backend == "openvino" else keras.distribution.list_devices()


def _trace_tensorflow(build_network):
    """Makes one plain graph for any shape; XLA compiles each, and is slower on a CPU."""
    import tensorflow

    network = build_network()
    shape = tensorflow.TensorSpec([None, None, None, network.input.shape[-1]])
    return tensorflow.function(lambda images: network(images, training=False), [shape])


def _compile_openvino(build_network):
    """Compiles a network for any shape; Keras would compile it anew for every height and width."""
    # Keras imports TensorFlow, where it is installed, to copy a layer: 0.6 GB for nothing.
    sys.modules.setdefault("tensorflow", None)
    import openvino

    # The tensors of Keras' backend are not public; a parameter has to become one.
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino import opset16

    network = build_network()
    shape = [-1, -1, -1, network.input.shape[-1]]
    images = opset16.parameter(shape, openvino.Type.f32)
    outputs = network(OpenVINOKerasTensor(images.output(0)), training=False)
    several = isinstance(outputs, list)
    results = [opset16.result(x.output) for x in (outputs if several else [outputs])]
    graph = openvino.Model(results, [images])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        # OpenVINO would use 16 bits where the processor has them,
        "INFERENCE_PRECISION_HINT": "f32",
        # and keep what it prepared for every shape.
        "CPU_RUNTIME_CACHE_CAPACITY": "0",
    }
    compiled = openvino.compile_model(graph, "CPU", settings)
    return lambda slices: compiled([slices]).to_tuple() if several else compiled([slices])[0]
