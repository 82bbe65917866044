"""A case of four files of any name.

In: the paths of the four images, and where the segmentation goes. Out: a `Case`, and a folder.
"""

import os
import re
from pathlib import Path

from brats.cases.find import Case
from brats.cases.names import EXTENSIONS, stem
from brats.editions import EDITIONS, relabel
from brats.errors import InputError


def build_case(images, output, labels=()):
    """Builds a case; its id is the output file's name, or what the names share, or the FLAIR's.

    Args:
        images: Dict from modality to path, in the order of `brats.editions.MODALITIES`.
        output: A folder, or the path of a `.nii.gz` file.
        labels: Values of the flag `--labels`.

    Returns:
        `(case, folder)`: a `Case` without a reference, and the `Path` of the folder to write to.

    Raises:
        FileNotFoundError: If an image does not exist. The message names its flag.
        InputError: If the segmentation would replace an image.
    """
    images = {name: Path(path) for name, path in images.items()}
    for name, path in images.items():
        if not path.is_file():
            raise FileNotFoundError(f"--{name} {path} is not a file. Check the path.")
    output = Path(output)
    if output.name.lower().endswith(EXTENSIONS) and not output.is_dir():
        folder, case_id = output.parent, stem(output)
    else:
        folder, case_id = output, _common_name([stem(path) for path in images.values()])
    written = [(folder / f"{case_id}{extension}").resolve() for extension in EXTENSIONS]
    if taken := [path for path in images.values() if path.resolve() in written]:
        raise InputError(f"The segmentation would replace {taken[0]}. Give another --output.")
    edition = relabel(EDITIONS["mixed"], labels)
    return Case(case_id, images["flair"].parent, edition, images, None, None, case_id), folder


def _common_name(names):
    """Returns the parts that all names begin with, or the first name."""
    common = os.path.commonprefix(names)
    whole = re.match(r"(.*[^-_. ])[-_. ]", common)  # The last part may be half of a modality.
    return whole[1] if whole else names[0]
