"""What the file `dataset.json` of nnU-Net says about channels and labels.

In: a case of nnU-Net. Out: its `Edition`. Without the file, it is that of the converter for BraTS.

Reference: documentation/dataset_format.md of nnU-Net.
"""

import re
from dataclasses import replace

from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError, shortened
from brats.files import parse_json

DATASET = "dataset.json"
# Patterns of the names that people give channels and labels; the first that fits counts.
CHANNELS = {"flair": r"flair|t2.?f", "t1ce": r"t1w?.?(c|g|post)|ct1", "t1": r"t1", "t2": r"t2"}
LABELS = {
    "normal": r"background|cavity|\brc\b",
    "necrosis": r"necro|ncr|netc?\b|non.?enh",
    "enhancing": r"enh|\bet\b",
    "edema": r"edema|snfh|\bed\b",
    "core": r"core|\btc\b",
    "whole": r"whole|\bwt\b",
}


def read_dataset(edition, path):
    """Returns the edition of nnU-Net with the channels and labels of a case's dataset.

    Args:
        edition: `Edition` of nnU-Net.
        path: Path of the case. `dataset.json` lies beside it, or above the folder it is in.

    Returns:
        An `Edition`. Its labels are None if the file gives them other names.

    Raises:
        InputError: If the file is damaged, or its channels are not the four modalities.
    """
    files = [folder / DATASET for folder in path.absolute().parents[:2]]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return edition
    try:
        dataset = parse_json(file.read_text(encoding="utf-8"))
        channels = dict(dataset.get("channel_names") or dataset["modality"])
        labels = dict(dataset["labels"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{file} does not define channel_names and labels: {shortened(error)}. Repair it."
        ) from error
    found = {_kind(name, CHANNELS): (f"_{int(index):04d}",) for index, name in channels.items()}
    if set(found) != set(MODALITIES):
        raise InputError(
            f"{file} names the channels {', '.join(map(str, channels.values()))}; expected FLAIR, "
            "T1, T1ce and T2. Correct channel_names."
        )
    return replace(edition, suffixes=found, **_read_labels(labels))


def _read_labels(labels):
    """Returns the "labels" and "merged" of an edition. Regions may overlap, as those of BraTS."""
    values = {}
    for name, value in labels.items():
        if str(name).isdigit():  # Version 1 has the value first.
            name, value = value, int(name)
        some = set(value) if isinstance(value, list) else {value}
        values.setdefault(_kind(name, LABELS), set()).update(some)
    if {"whole", "core", "enhancing"} <= values.keys():
        values["necrosis"] = values["core"] - values["enhancing"]
        values["edema"] = values["whole"] - values["core"]
    if None in values or not all(values.get(name) for name in CLASSES[1:]):
        return {"labels": None}
    ordered = [sorted(values[name]) for name in CLASSES[1:]]
    return {
        "labels": (0, *(some[0] for some in ordered)),
        "merged": {value: index for index, some in enumerate(ordered, 1) for value in some[1:]},
        "background": {value: "not tumor" for value in values.get("normal", ()) if value},
    }


def _kind(name, patterns):
    """Returns the key of the first pattern that a name holds, or None."""
    return next(
        (kind for kind, text in patterns.items() if re.search(text, str(name).lower())), None
    )
