"""All settings of the three scripts: one frozen dataclass per script, one flag per field.

In: command line arguments, parsed by `brats.flags`. Out: a checked settings object. The defaults
are the published recipe. `--recipe tuned` replaces some of them.
"""

import re
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
    VERBOSE,
    Settings,
    flag,
    flags,
    one_of,
    setting,
)
from brats.labels import LABELS

IMAGES = ("flair", "t1", "t1ce", "t2")
FILE_ENDINGS = (".nii", ".gz", ".mha", ".mhd", ".nrrd", ".hdr", ".img", ".mgz", ".dcm")
CLASS_WEIGHTS = (
    "four numbers above 0",
    lambda value: len(value) == 4 and all(0 < item < float("inf") for item in value),
)
VOLUME_ML = ("a volume in ml of at least 0", lambda value: 0 <= value < float("inf"))
SEVERAL = ("a whole number of at least 2", lambda value: value >= 2)
SCHEDULER_HELP = "Dask cluster that runs the cases; local starts workers on this machine"

LABELS_OF_REFERENCES = (
    (),
    "label values, if the file names do not define them; predictions have the first of each class",
    LABELS,
)
LABELS_OF_SEGMENTATIONS = (
    (),
    "with --score-only: label values of the segmentations, if they differ from the references",
    LABELS,
)

FORCE = (False, "use cases even if a check says that no network can segment them")

# The tuned recipe, one part per script. docs/results.md has the gain of each setting.
TUNED_EXTRACTION = {"centers": "balanced"}
TUNED_TRAINING = {
    "learning_rate": 0.008,
    "schedule": "cosine",
    "loss": "present-classes",
}
TUNED_PREDICTION = {
    "checkpoint": "last",
    "flips": True,
    "min_lesion_ml": 4.0,
    "min_enhancing_ml": 0.5,
}
RECIPE = (
    "published",
    "named settings that replace the defaults",
    one_of("published", "tuned"),
)


@dataclass(frozen=True)
class ExtractConfig(Settings):
    """Settings of extract_patches.py."""

    RECIPES: ClassVar[dict] = {"tuned": TUNED_EXTRACTION}

    data_root: str = setting(
        "data/brats", "folder of the cases, or of unpacked archives", PATH, group="data"
    )
    cases: tuple[str, ...] = setting((), "ids of the cases to extract; default: all")
    labels: tuple[str, ...] = setting(*LABELS_OF_REFERENCES)
    recipe: str = setting(*RECIPE, group="patches")
    # The paper: 146 slices, 3 patches per slice.
    patches_per_case: int = setting(438, "number of patches to draw from each case", COUNT)
    # Balanced centers lie anywhere in the brain, as many in each tumor class as in all of it.
    centers: str = setting(
        "published", "how patch centers are drawn", one_of("published", "balanced")
    )
    # With float16 a pixel takes 9 bytes instead of 17, and is rounded.
    dtype: str = setting("float32", "type of the stored images", one_of("float32", "float16"))
    seed: int = setting(0, "seed of the patch centers", SEED)
    output: str = setting(
        "data/patches", "folder to write one patch file per case to", PATH, group="output"
    )
    overwrite: bool = setting(False, "extract all cases again, and replace their files")
    force: bool = setting(*FORCE)
    check: bool = setting(False, "check every voxel, print the result, and write nothing")
    verbose: bool = setting(*VERBOSE)
    workers: int | None = setting(
        None, "number of cases to extract at once; default: one per core", COUNT, group="machines"
    )
    scheduler: str | None = setting(None, SCHEDULER_HELP, SCHEDULER)

    def __post_init__(self):
        """Checks every field, and that no flag would be ignored."""
        super().__post_init__()
        if self.scheduler and self.check:
            raise ValueError("--check runs on this machine; leave out --scheduler.")
        if self.scheduler not in (None, "local") and self.workers:
            raise ValueError("--workers is for this machine; a cluster has its own workers.")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of train.py."""

    RECIPES: ClassVar[dict] = {"tuned": TUNED_TRAINING}

    patches: tuple[str, ...] = setting(
        ("data/patches",),
        "folders of patch files, or patch files; all form one set",
        PATHS,
        group="data",
    )
    validation_fraction: float = setting(0.2, "share of the patients to validate on", FRACTION)
    num_folds: int | None = setting(
        None, "number of folds of the patients; one of them is for validation", SEVERAL
    )
    fold: int | None = setting(None, "index of the validation fold, from 0", NOT_NEGATIVE)
    base_filters: int = setting(64, "number of filters of the first level", COUNT, group="network")
    depth: int = setting(3, "how often the network halves the resolution", COUNT)
    weights: str | None = setting(None, "file of weights to start from; default: random", PATH)
    recipe: str = setting(*RECIPE, group="training")
    epochs: int = setting(3, "number of passes over the training patches", COUNT)
    batch_size: int = setting(4, "patches per batch, over all devices and hosts", COUNT)
    steps_per_epoch: int | None = setting(None, "batches per epoch; default: all patches", COUNT)
    optimizer: str = setting(
        "sgd", "sgd (gradient descent with momentum) or adam", one_of("sgd", "adam")
    )
    learning_rate: float = setting(
        0.08, "learning rate; published divides it by 10 first", POSITIVE
    )
    momentum: float = setting(0.9, "momentum of the gradient (Adam: beta 1)", FRACTION)
    schedule: str = setting(
        "published", "how the learning rate changes", one_of("published", "constant", "cosine")
    )
    # In present-classes, the Dice term leaves out classes that are absent from the batch.
    loss: str = setting("published", "loss function", one_of("published", "present-classes"))
    class_weights: tuple[float, ...] = setting(
        (1.0, 5.0, 2.0, 4.0), "weight of each class in the cross entropy", CLASS_WEIGHTS
    )
    seed: int = setting(0, "seed of the split, weights, order of patches, and flips", SEED)
    mixed_precision: bool = setting(
        False, "compute in 16 bits: float16 on a GPU, bfloat16 elsewhere"
    )
    deterministic: bool = setting(False, "give the same bits from the same seed on a GPU; slower")
    run_dir: str = setting("runs/default", "folder to write the run to", PATH, group="output")
    resume: bool = setting(False, "continue the run from its last state")
    state_every: int | None = setting(
        None,
        "steps between two saved states; default: at most one a minute, and 1 % of the time",
        COUNT,
    )
    overwrite: bool = setting(False, "replace an existing run")
    tensorboard: bool = setting(False, "write a TensorBoard log to the run folder")
    verbose: bool = setting(*VERBOSE)
    devices: int | None = setting(
        None,
        "number of GPUs of this host to use; default: all under JAX, else one",
        COUNT,
        group="machines",
    )
    coordinator: str | None = setting(
        None,
        "address of host 0 to train on several hosts under JAX, such as node1:61000; default: "
        "the first node of the Slurm job",
        ADDRESS,
    )
    num_hosts: int | None = setting(None, "number of hosts; default: from Slurm or Open MPI", COUNT)
    host_id: int | None = setting(
        None, "index of this host, from 0; default: from Slurm or Open MPI", NOT_NEGATIVE
    )

    def __post_init__(self):
        """Checks every field, and that no flag would be ignored."""
        super().__post_init__()
        for name in ("weights", "overwrite"):
            if self.resume and getattr(self, name):
                raise ValueError(f"--resume continues a run unchanged; leave out {flag(name)}.")
        if (self.num_folds is None) != (self.fold is None):
            raise ValueError("--num-folds and --fold go together; give both or none.")
        if self.num_folds is None:
            return
        if self.fold >= self.num_folds:
            raise ValueError(
                f"--fold is {self.fold}; expected at least 0 and less than --num-folds, "
                f"{self.num_folds}."
            )
        if self.validation_fraction != type(self).validation_fraction:
            raise ValueError("Give --validation-fraction or --num-folds, not both.")


@dataclass(frozen=True)
class PredictConfig(Settings):
    """Settings of predict.py."""

    RECIPES: ClassVar[dict] = {"tuned": TUNED_PREDICTION}

    data_root: str = setting(
        "data/brats", "folder of the cases, or of unpacked archives", PATH, group="data"
    )
    cases: tuple[str, ...] = setting(
        (), "ids of the cases; default: cases that no run was trained on; with --weights, all"
    )
    flair: str | None = setting(None, "image of a single case; needs --t1, --t1ce, --t2", PATH)
    t1: str | None = setting(None, "image of a single case", PATH)
    t1ce: str | None = setting(None, "image of a single case, with contrast agent", PATH)
    t2: str | None = setting(None, "image of a single case", PATH)
    labels: tuple[str, ...] = setting(*LABELS_OF_REFERENCES)
    run_dir: tuple[str, ...] = setting(
        ("runs/default",),
        "run folders; the predictions of their networks are averaged",
        PATHS,
        group="networks",
    )
    checkpoint: str = setting(
        "best",
        "network of each run: best (lowest validation loss) or last (last epoch)",
        one_of("best", "last"),
    )
    weights: tuple[str, ...] = setting(
        (), "network files to use instead of runs: .keras, or .hdf5 of the original", PATHS
    )
    cross_validate: bool = setting(
        False, "use for each case only the runs that were not trained on it"
    )
    recipe: str = setting(*RECIPE, group="prediction")
    batch_size: int = setting(2, "slices per batch", COUNT)
    full_slices: bool = setting(False, "predict whole slices instead of boxes around the brain")
    flips: bool = setting(False, "also predict mirrored slices, and average")
    fill_holes: bool = setting(False, "fill holes in the tumor with the nearest class")
    min_lesion_ml: float = setting(0.0, "remove smaller tumor components", VOLUME_ML)
    min_enhancing_ml: float = setting(
        0.0, "if a case has less enhancing tumor, change it to necrosis", VOLUME_ML
    )
    output: str = setting(
        "predictions", "folder to write to, or the .nii.gz of a single case", PATH, group="output"
    )
    probabilities: bool = setting(False, "also write the probability of each tumor class")
    slices: tuple[int, ...] = setting(
        (), "axial slices to draw, from 0 at the feet; default: the one with most tumor", INDICES
    )
    score_only: bool = setting(
        False, "only score the segmentations in --output, which any tool may have made"
    )
    ignore_missing: bool = setting(
        False, "with --score-only: ignore cases without a segmentation, which count as missed"
    )
    segmentation_labels: tuple[str, ...] = setting(*LABELS_OF_SEGMENTATIONS)
    overwrite: bool = setting(False, "segment all cases again, and replace their files")
    force: bool = setting(*FORCE)
    verbose: bool = setting(*VERBOSE)
    scheduler: str | None = setting(None, SCHEDULER_HELP, SCHEDULER, group="machines")
    workers: int | None = setting(
        None, "number of workers for --scheduler local; default: one per core", COUNT
    )

    def __post_init__(self):
        """Checks every field, and that no flag would be ignored."""
        super().__post_init__()
        if self.workers and self.scheduler != "local":
            raise ValueError("--workers is for --scheduler local; leave it out.")
        recipe = self.RECIPES.get(self.recipe, {})
        asked_for = {
            item.name
            for item in fields(self)
            if getattr(self, item.name) not in (item.default, recipe.get(item.name, item.default))
        }
        if self.weights and (unused := asked_for & {"run_dir", "checkpoint", "cross_validate"}):
            raise ValueError(f"--weights replaces the runs; leave out {flags(unused)}.")
        given = asked_for & set(IMAGES)
        unused = asked_for & {"data_root", "cases", "cross_validate", "score_only"}
        if given and (missing := set(IMAGES) - given):
            raise ValueError(f"{flags(given)} need {flags(missing)}; give all four images.")
        if given and unused:
            raise ValueError(f"{flags(given)} are one case; leave out {flags(unused)}.")
        is_file = given and re.search(r"[^/]\.nii\.gz$", self.output)
        if self.output.rstrip("/").lower().endswith(FILE_ENDINGS) and not is_file:
            raise ValueError(
                f"--output is {self.output!r}; expected a folder or, with --flair, NAME.nii.gz."
            )
        scoring = {"score_only", "ignore_missing", "segmentation_labels"}
        if not self.score_only and asked_for & scoring:
            raise ValueError(f"Add --score-only, or leave out {flags(asked_for & scoring)}.")
        used = {"data_root", "output", "cases", "labels", "slices", "verbose"} | scoring
        if self.score_only and asked_for - used:
            raise ValueError(f"--score-only predicts nothing; leave out {flags(asked_for - used)}.")
