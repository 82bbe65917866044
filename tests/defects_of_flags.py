"""Every flag out of its range, of the wrong type, unknown, or against another. See defects.py."""

import dataclasses

import config
from brats import settings
from tests.defects import EXTRACT, PREDICT, RESUME, SCORE, TRAIN, Defect

BY_SCRIPT = {
    "extract_patches.py": config.ExtractConfig,
    "train.py": config.TrainConfig,
    "predict.py": config.PredictConfig,
}
FOLD = ("--num-folds", "2", "--fold", "0")
HOSTS = ("--coordinator", "node1:61000", "--num-hosts", "2")
# What the checks of settings refuse; of text, what ITK would end at.
WRONG = {
    settings.COUNT[0]: ["0"],
    settings.POSITIVE[0]: ["nan"],
    settings.FRACTION[0]: ["1"],
    settings.NOT_NEGATIVE[0]: ["-1"],
    settings.INDICES[0]: ["3", "-1"],
    settings.SEED[0]: ["4294967296"],
    config.SEVERAL[0]: ["1"],
    config.CLASS_WEIGHTS[0]: ["1", "2", "3"],
    settings.PATH[0]: ["line\nbreak"],
    settings.PATHS[0]: ["run", "line\nbreak"],
    settings.ADDRESS[0]: ["node1:0"],
    settings.SCHEDULER[0]: ["127.0.0.1:8786"],
}


def defects_of_fields():
    """Yields one defect per flag that has a range, and one per flag that takes numbers."""
    for script, config_class in BY_SCRIPT.items():
        for field in dataclasses.fields(config_class):
            flag, expectation = settings.flag(field.name), field.metadata["check"][0]
            if field.metadata["check"] is not settings.ANY:
                # What is none of some names has a name that is none of them.
                values = WRONG.get(expectation, ["other"])
                yield of_flags(script, flag, *values)
            if "int" in str(field.type) or "float" in str(field.type):
                yield of_flags(script, flag, "many")


def of_flags(script, *arguments, names=None):
    """Returns the defect of a script with some arguments; the first is what its message names."""
    shown = " ".join(arguments).replace("\n", "\\n")
    return Defect("Flags", f"`{shown}`", (script, *arguments), names or arguments[0])


def together(command, *arguments, names, group="Flags"):
    """Returns the defect of a whole command with further arguments that do not go with it."""
    shown = " ".join(arguments)
    return Defect(group, f"`{shown}`", (*command, *arguments), names)


DEFECTS = [
    *defects_of_fields(),
    of_flags("extract_patches.py", "--unknown"),
    of_flags("train.py", "--epochs"),
    of_flags("train.py", "--resume=yes", names="--resume"),
    of_flags("predict.py", "more", names="more"),
    together(RESUME, "--overwrite", names="--overwrite"),
    together(RESUME, "--weights", "run/best.keras", names="--weights"),
    together(TRAIN, "--num-hosts", "2", "--host-id", "0", names="--coordinator", group="Hosts"),
    together(TRAIN, *HOSTS, "--host-id", "2", names="--host-id", group="Hosts"),
    together(TRAIN, *HOSTS, "--host-id", "0", names="KERAS_BACKEND", group="Hosts"),
    together(PREDICT, "--weights", "run/best.keras", names="--weights"),
    together(SCORE, "--flips", names="--flips"),
    together(SCORE, "--recipe", "tuned", names="--recipe"),
    together(SCORE, "--scheduler", "local", names="--scheduler"),
    together(EXTRACT, "--num-folds", "2", names="--fold"),
    together(EXTRACT, "--fold", "0", names="--num-folds"),
    together(EXTRACT, "--num-folds", "2", "--fold", "2", names="--fold"),
    together((*EXTRACT, "--validation-fraction", "0.5"), *FOLD, names="--validation-fraction"),
    together(PREDICT[:1], "--cross-validate", "--weights", "a.keras", names="--weights"),
    together(PREDICT[:1], "--checkpoint", "last", "--weights", "a.keras", names="--weights"),
    together(SCORE, "--cross-validate", names="--cross-validate"),
    together(EXTRACT, "--check", "--scheduler", "local", names="--scheduler"),
    together(EXTRACT, "--scheduler", "tcp://127.0.0.1:1", names="--workers"),
    together(PREDICT, "--workers", "2", names="--workers"),
]
