"""Every choice of the three scripts: one frozen dataclass each, and flags made from its fields.

In: command line arguments, or a dict read from JSON. Out: a checked settings object. The
defaults are the published recipe. A field `base_filters` is the flag `--base-filters`.
"""

import argparse
import re
import types
import typing
from dataclasses import asdict, dataclass, field, fields

ANY = ("any value", lambda value: True)
# ITK ends the process on text that is not UTF-8.
PATH = ("a path of printable characters", lambda value: value and value.isprintable())
PATHS = ("paths of printable characters", lambda value: all(map(PATH[1], value)))
COUNT = ("a whole number of at least 1", lambda value: value >= 1)
POSITIVE = ("a number above 0", lambda value: 0 < value < float("inf"))
FRACTION = ("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
NOT_NEGATIVE = ("a whole number of at least 0", lambda value: value >= 0)
INDICES = ("whole numbers of at least 0", lambda value: all(item >= 0 for item in value))
SEED = ("a whole number of at least 0 and below 2**32", lambda value: 0 <= value < 2**32)
SCHEDULER = (
    "local, tcp://HOST:PORT, or the .json file of a scheduler",
    lambda value: re.fullmatch(r"local|(tcp|tls)://\S+:\d+|.+\.json", value) and PATH[1](value),
)
CLASS_WEIGHTS = (
    "four numbers above 0",
    lambda value: len(value) == 4 and all(0 < item < float("inf") for item in value),
)
CLUSTER_HELP = "Dask cluster to send the cases to; local starts one here"
LOCAL_HELP = "workers that --scheduler local starts; default: one per core"


def one_of(*names):
    """Returns the check that a setting is one of some names."""
    return f"one of {', '.join(names)}", lambda value: value in names


def setting(default, help_text, check=ANY):
    """Declares a field: its default, its help, and a check as `(expectation, predicate)`."""
    return field(default=default, metadata={"help": help_text, "check": check})


class Settings:
    """Checks every field of a settings dataclass on construction.

    Raises:
        ValueError: If a value has the wrong type or is out of range; names the flag.
    """

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            expectation, is_valid = item.metadata["check"]
            if not _has_type(value, item.type):
                raise ValueError(
                    f"{flag(item.name)} is {value!r}; expected {_describe(item.type)}."
                )
            if value is not None and not is_valid(value):
                raise ValueError(f"{flag(item.name)} is {value!r}; expected {expectation}.")


@dataclass(frozen=True)
class ExtractConfig(Settings):
    """What extract_patches.py does."""

    data_root: str = setting("data/brats", "folder of the cases, or of unpacked archives", PATH)
    output: str = setting("data/patches.h5", "patch file to write", PATH)
    # 146 slices times 3, as published.
    patches_per_case: int = setting(438, "patches to draw from each case", COUNT)
    validation_fraction: float = setting(0.2, "share of the patients kept for validation", FRACTION)
    # float16 stores 9 bytes per pixel instead of 17, and rounds.
    dtype: str = setting("float32", "type of the stored images", one_of("float32", "float16"))
    workers: int | None = setting(None, "cases prepared at once; default: one per core", COUNT)
    seed: int = setting(0, "seed of the split and of the patches' places", SEED)
    resume: bool = setting(False, "go on after the last finished case of an earlier attempt")
    overwrite: bool = setting(False, "replace an existing patch file")
    check: bool = setting(False, "look at every voxel, print what is found, and write nothing")
    scheduler: str | None = setting(None, CLUSTER_HELP, SCHEDULER)

    def __post_init__(self):
        """Checks every field, and that nothing asked for would be ignored."""
        super().__post_init__()
        if self.scheduler and self.check:
            raise ValueError("--check looks at cases on this machine, without --scheduler.")
        if self.scheduler not in (None, "local") and self.workers:
            raise ValueError("--workers is for this machine; a cluster of --scheduler has its own.")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What train.py does."""

    patches: str = setting("data/patches.h5", "patch file to train on", PATH)
    run_dir: str = setting("runs/default", "folder to write the run to", PATH)
    epochs: int = setting(3, "passes over the training patches", COUNT)
    batch_size: int = setting(4, "patches in a batch", COUNT)
    steps_per_epoch: int | None = setting(None, "batches in an epoch; default: all patches", COUNT)
    base_filters: int = setting(64, "filters of the first level", COUNT)
    depth: int = setting(3, "times that the resolution is halved", COUNT)
    optimizer: str = setting(
        "sgd", "gradient descent with momentum, or Adam", one_of("sgd", "adam")
    )
    # The published schedule divides it by 10 before the first step.
    learning_rate: float = setting(0.08, "learning rate at compile time", POSITIVE)
    momentum: float = setting(0.9, "momentum of the gradient (Adam: beta 1)", FRACTION)
    schedule: str = setting(
        "published", "learning rate over time", one_of("published", "constant", "cosine")
    )
    # In present-classes, a class that is absent from a batch takes no part in the Dice term.
    loss: str = setting("published", "loss", one_of("published", "present-classes"))
    class_weights: tuple[float, ...] = setting(
        (1.0, 5.0, 2.0, 4.0), "cross entropy weight of each class", CLASS_WEIGHTS
    )
    weights: str | None = setting(None, "file of weights to start from; default: random", PATH)
    resume: bool = setting(False, "continue the run where its last state was written")
    state_every: int | None = setting(
        None,
        "steps between two states; default: as often as takes a hundredth of the time, at most "
        "once a minute",
        COUNT,
    )
    overwrite: bool = setting(False, "replace an existing run")
    seed: int = setting(0, "seed of the weights, the order and the flips", SEED)
    mixed_precision: bool = setting(
        False, "compute in 16 bits: float16 on a GPU, bfloat16 elsewhere"
    )
    deterministic: bool = setting(
        False, "the same bits from the same seed on a GPU as well, at some cost of speed"
    )
    tensorboard: bool = setting(False, "write a TensorBoard log to the run folder")

    def __post_init__(self):
        """Checks every field, and that nothing asked for would be ignored."""
        super().__post_init__()
        for name in ("weights", "overwrite"):
            if self.resume and getattr(self, name):
                raise ValueError(
                    f"--resume continues a run as it is; it does not go with {flag(name)}."
                )


@dataclass(frozen=True)
class PredictConfig(Settings):
    """What predict.py does."""

    run_dir: tuple[str, ...] = setting(
        ("runs/default",),
        "folders of the runs whose networks to use; several are averaged",
        PATHS,
    )
    weights: str | None = setting(
        None, "network to use instead: .keras, or the original's .hdf5", PATH
    )
    data_root: str = setting("data/brats", "folder of the cases, or of unpacked archives", PATH)
    output: str = setting("predictions", "folder to write to", PATH)
    cases: tuple[str, ...] = setting(
        (), "ids of the cases; default: all that no run was trained on, or all with --weights"
    )
    batch_size: int = setting(2, "slices in a batch", COUNT)
    full_slices: bool = setting(False, "predict whole slices instead of boxes around the brain")
    flips: bool = setting(False, "average with the prediction of left-right mirrored slices")
    fill_holes: bool = setting(False, "give background enclosed by tumor the nearest class")
    min_lesion_voxels: int = setting(
        0, "whole-tumor components of fewer voxels become background", NOT_NEGATIVE
    )
    min_enhancing_voxels: int = setting(
        0, "enhancing tumor of fewer voxels in a case becomes necrosis", NOT_NEGATIVE
    )
    probabilities: bool = setting(False, "also write the probability of each class of tumor")
    slices: tuple[int, ...] = setting(
        (),
        "axial slices to draw, from 0 at the feet; default: the one with most predicted tumor",
        INDICES,
    )
    score_only: bool = setting(
        False, "score the segmentations in --output, of any tool, and predict nothing"
    )
    overwrite: bool = setting(False, "replace existing segmentations")
    scheduler: str | None = setting(None, CLUSTER_HELP, SCHEDULER)
    workers: int | None = setting(None, LOCAL_HELP, COUNT)

    def __post_init__(self):
        """Checks every field, and that nothing asked for would be ignored."""
        super().__post_init__()
        if self.workers and self.scheduler != "local":
            raise ValueError("--workers is for --scheduler local.")
        changed = {item.name for item in fields(self) if getattr(self, item.name) != item.default}
        if self.weights and "run_dir" in changed:
            raise ValueError("--weights takes the place of --run-dir; give one of them.")
        ignored = changed - {"data_root", "output", "cases", "slices", "score_only"}
        if self.score_only and ignored:
            raise ValueError(
                f"--score-only predicts nothing; it does not go with {_flags(ignored)}."
            )


def parse(config_class, argv=None, description=None):
    """Reads a settings object off the command line.

    Args:
        config_class: A settings dataclass.
        argv: List of arguments, or None for those of the process.
        description: First lines of `--help`.

    Returns:
        An instance of `config_class`.

    Raises:
        SystemExit: With code 2 and a message that names the flag, if an argument is wrong; with
            code 0 after `--help`.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for item in fields(config_class):
        parser.add_argument(flag(item.name), **_argument(item))
    values = vars(parser.parse_args(argv))
    try:
        return from_dict(config_class, values)
    except ValueError as error:
        parser.error(str(error))


def to_dict(config):
    """Returns the settings as a dict that JSON can hold."""
    return asdict(config)


def from_dict(config_class, values):
    """Builds a settings object from a dict, such as one read from JSON.

    Raises:
        ValueError: If a setting is missing, unknown or wrong; names the flag.
    """
    names = {item.name for item in fields(config_class)}
    if names != set(values):
        raise ValueError(
            f"The settings have {_flags(set(values) - names)} too many and lack "
            f"{_flags(names - set(values))}; they were written by another version."
        )
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return config_class(**values)


def flag(name):
    """Returns the flag of a field: `base_filters` to `--base-filters`."""
    return "--" + name.replace("_", "-")


def _flags(names):
    return ", ".join(sorted(map(flag, names))) or "none"


def _argument(item):
    """Returns the keyword arguments of `add_argument` for a field."""
    if item.type is bool:
        return {"action": "store_true", "help": item.metadata["help"]}
    notes = [] if item.metadata["check"] is ANY else [item.metadata["check"][0]]
    if item.default not in (None, ()):
        shown = item.default if isinstance(item.default, tuple) else (item.default,)
        notes.append(f"default: {' '.join(map(str, shown))}")
    notes = f" ({'; '.join(notes)})" if notes else ""
    arguments = {
        "default": item.default,
        "help": item.metadata["help"] + notes,
        "type": _scalar_type(item.type),
    }
    if typing.get_origin(item.type) is tuple:
        arguments["nargs"] = "+"
    return arguments


def _scalar_type(annotation):
    """Returns the type of one value: `int | None` and `tuple[int, ...]` both give int."""
    if isinstance(annotation, types.UnionType | types.GenericAlias):
        return typing.get_args(annotation)[0]
    return annotation


def _has_type(value, annotation):
    if value is None:
        return type(None) in typing.get_args(annotation)
    scalar = _scalar_type(annotation)
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is_scalar(item, scalar) for item in value)
    return _is_scalar(value, scalar)


def _is_scalar(value, scalar):
    accepted = (int, float) if scalar is float else scalar
    return isinstance(value, accepted) and (scalar is bool or not isinstance(value, bool))


def _describe(annotation):
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names[_scalar_type(annotation)]
