"""Every choice of the three scripts: one frozen dataclass each, whose fields become flags.

In: command line arguments, or a dict read from JSON, by way of `brats.flags`. Out: a checked
settings object. The defaults are the published recipe; `--recipe tuned` sets other ones.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

from brats.flags import (
    ADDRESS,
    COUNT,
    FRACTION,
    INDICES,
    NOT_NEGATIVE,
    PATH,
    PATHS,
    POSITIVE,
    SCHEDULER,
    SEED,
    Settings,
    flag,
    flags,
    one_of,
    setting,
    to_dict,
)

CLASS_WEIGHTS = (
    "four numbers above 0",
    lambda value: len(value) == 4 and all(0 < item < float("inf") for item in value),
)
SEVERAL = ("a whole number of at least 2", lambda value: value >= 2)
CLUSTER_HELP = "Dask cluster to send the cases to; local starts one here"
LOCAL_HELP = "workers that --scheduler local starts; default: one per core"

# The tuned recipe, one part per script: what each setting gained is in docs/results.md.
TUNED_EXTRACTION = {"centers": "balanced"}
TUNED_TRAINING = {
    "learning_rate": 0.008,
    "schedule": "cosine",
    "loss": "present-classes",
}
TUNED_PREDICTION = {
    "checkpoint": "last",
    "flips": True,
    "min_lesion_voxels": 4000,
    "min_enhancing_voxels": 500,
}
RECIPE = (
    "published",
    "named settings that take the place of the defaults",
    one_of("published", "tuned"),
)


@dataclass(frozen=True)
class ExtractConfig(Settings):
    """What extract_patches.py does."""

    RECIPES: ClassVar[dict] = {"tuned": TUNED_EXTRACTION}

    recipe: str = setting(*RECIPE)
    data_root: str = setting("data/brats", "folder of the cases, or of unpacked archives", PATH)
    output: str = setting("data/patches.h5", "patch file to write", PATH)
    # 146 slices times 3, as published.
    patches_per_case: int = setting(438, "patches to draw from each case", COUNT)
    validation_fraction: float = setting(0.2, "share of the patients kept for validation", FRACTION)
    # Balanced: all over the brain, as many on each class of tumor as on the brain at large.
    centers: str = setting("published", "where patches lie", one_of("published", "balanced"))
    num_folds: int | None = setting(
        None, "validate on one of so many equal parts of the patients instead", SEVERAL
    )
    fold: int | None = setting(None, "which of them, from 0", NOT_NEGATIVE)
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
        self._check_folds()

    def _check_folds(self):
        if self.num_folds is None and self.fold is None:
            return
        if self.num_folds is None:
            raise ValueError("--fold is one of several; say of how many with --num-folds.")
        if self.fold is None:
            raise ValueError("--num-folds needs --fold, which of them to validate on, from 0.")
        if self.fold >= self.num_folds:
            raise ValueError(
                f"--fold is {self.fold}; expected a whole number of at least 0 and below "
                f"--num-folds, {self.num_folds}."
            )
        if self.validation_fraction != type(self).validation_fraction:
            raise ValueError(
                "--validation-fraction does not go with --num-folds, which says how many patients "
                "are validated on."
            )


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What train.py does."""

    RECIPES: ClassVar[dict] = {"tuned": TUNED_TRAINING}

    recipe: str = setting(*RECIPE)
    patches: tuple[str, ...] = setting(
        ("data/patches.h5",), "patch file to train on; several are one set", PATHS
    )
    run_dir: str = setting("runs/default", "folder to write the run to", PATH)
    epochs: int = setting(3, "passes over the training patches", COUNT)
    batch_size: int = setting(4, "patches in a batch, over all devices and hosts", COUNT)
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
    devices: int | None = setting(
        None,
        "GPUs of this host that share a batch, under TensorFlow or JAX; default: all under JAX, "
        "else one",
        COUNT,
    )
    coordinator: str | None = setting(
        None,
        "address of host 0 for training on several hosts under JAX, such as node1:61000; default "
        "under Slurm: the first node of the job step",
        ADDRESS,
    )
    num_hosts: int | None = setting(
        None, "hosts that train together; default under Slurm and Open MPI: the processes", COUNT
    )
    host_id: int | None = setting(
        None,
        "which of the hosts this is; default under Slurm and Open MPI: the rank",
        NOT_NEGATIVE,
    )

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

    RECIPES: ClassVar[dict] = {"tuned": TUNED_PREDICTION}

    recipe: str = setting(*RECIPE)
    run_dir: tuple[str, ...] = setting(
        ("runs/default",),
        "folders of the runs whose networks to use; several are averaged",
        PATHS,
    )
    checkpoint: str = setting(
        "best",
        "network of each run: best, of the lowest validation loss, or last, of the last epoch",
        one_of("best", "last"),
    )
    weights: tuple[str, ...] = setting(
        (), "networks to use instead, averaged: .keras, or the original's .hdf5", PATHS
    )
    data_root: str = setting("data/brats", "folder of the cases, or of unpacked archives", PATH)
    output: str = setting("predictions", "folder to write to", PATH)
    cases: tuple[str, ...] = setting(
        (), "ids of the cases; default: all that no run was trained on, or all with --weights"
    )
    batch_size: int = setting(2, "slices in a batch", COUNT)
    cross_validate: bool = setting(
        False, "segment each case by those runs alone that were not trained on it"
    )
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
        recipe = self.RECIPES.get(self.recipe, {})
        asked_for = {name for name in changed if getattr(self, name) != recipe.get(name)}
        if self.weights and "checkpoint" in asked_for:
            raise ValueError(
                "--checkpoint chooses among the networks of a run; it does not go with --weights."
            )
        if self.weights and self.cross_validate:
            raise ValueError(
                "--cross-validate goes by the cases that runs were trained on; it does not go with "
                "--weights."
            )
        ignored = asked_for - {"data_root", "output", "cases", "slices", "score_only"}
        if self.score_only and ignored:
            raise ValueError(
                f"--score-only predicts nothing; it does not go with {flags(ignored)}."
            )

    def in_use(self):
        """Returns the settings as a dict, without how to choose networks that are not read."""
        settings = to_dict(self)
        for name in ("run_dir", "checkpoint") if self.weights else ("weights",):
            del settings[name]
        return settings
