"""The patch file of a case: HDF5 that describes itself, complete or absent.

In: the patches of a case. Out: `<case>.h5`, and a `CaseFile` that says what is in it and where.

Datasets, contiguous and uncompressed, so that patch i lies at `offset + i * size` and is read
without HDF5:

    images    (N, 128, 128, 4)  float32 or float16, normalized
    labels    (N, 128, 128)     uint8 class indices
    center    (N, 3)            int32 (z, y, x) in the uncropped volume; if its voxels are not
                                1 mm in the plane (a warning says so), in the resampled volume
    checksum  (N,)              uint32, CRC-32 of the image and then the labels of each patch

Attributes: `format`, `version`, `case`, `description`, a JSON text with everything else, and
`header_checksum`, CRC-32 of the description and then the centers.
"""

import hashlib
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from brats.editions import CLASSES, MODALITIES
from brats.errors import InputError, shortened
from brats.files import parse_json, replacing
from brats.hdf5 import open_hdf5
from brats.patches.centers import cut_patch
from brats.volumes.network_input import (
    INPUT_FORMAT,
    PATCH_SIZE,
    PUBLISHED_SHAPE,
    PUBLISHED_WINDOW,
)
from brats.volumes.normalization import BACKGROUND

FORMAT, VERSION = "brats-patches", 2
SUFFIX = ".h5"
# What training and prediction take over from extraction. Each stage compares it.
AGREEMENT = INPUT_FORMAT | {
    "patch_size": PATCH_SIZE,
    "classes": list(CLASSES),
    "crop": {
        "shape": list(PUBLISHED_SHAPE),
        "window": [[part.start, part.stop] for part in PUBLISHED_WINDOW],
        "other_shapes": "bounding box of the brain",
    },
}
SHAPE = (PATCH_SIZE, PATCH_SIZE)
REMEDY = "Make it again with extract_patches.py --overwrite."


@dataclass(frozen=True)
class CaseFile:
    """A patch file, known by its header.

    Attributes:
        path: Path of the file.
        description: Dict of `AGREEMENT`, the settings of the extraction, case, patient, grade,
            edition, labels, class counts, warnings, input files, versions and commit.
        num_patches: Number of patches, int.
        offsets: First byte of the images and of the labels.
        checksums: CRC-32 of each patch, uint32 `(N,)`.
    """

    path: Path
    description: dict
    num_patches: int
    offsets: tuple
    checksums: np.ndarray = field(repr=False)

    @property
    def id(self):
        """The id of the case."""
        return self.description["case"]

    @property
    def patient(self):
        """The id of the patient."""
        return self.description["patient"]

    @property
    def grade(self):
        """HGG, LGG or None."""
        return self.description.get("grade")

    @property
    def dtype(self):
        """The type of the images."""
        return np.dtype(self.description["dtype"])

    @property
    def checksum(self):
        """SHA-256 of the checksums of all patches, in hexadecimal."""
        return hashlib.sha256(self.checksums.astype("<u4").tobytes()).hexdigest()


def case_file_path(folder, case_id):
    """Returns the path of the patch file of a case."""
    return Path(folder) / f"{case_id}{SUFFIX}"


def stored_bytes(num_patches, dtype):
    """Returns the bytes that images of type `dtype` and labels take on disk."""
    return num_patches * PATCH_SIZE**2 * (len(MODALITIES) * np.dtype(dtype).itemsize + 1)


def write_case_file(path, patches, description):
    """Writes the `CasePatches` of a case, described by a dict that JSON can hold."""
    num_patches, dtype = len(patches.centers), np.dtype(description["dtype"])
    checksums = np.zeros(num_patches, dtype="<u4")
    with replacing(path) as temporary:
        offsets = _lay_out(temporary, patches, dtype, AGREEMENT | description)
        if not num_patches:
            return
        with open(temporary, "r+b") as file:
            # Past HDF5: faster, in threads side by side, and a full disk raises an error here.
            for name, volume, kind, beyond in (
                ("images", patches.channels, dtype, BACKGROUND),
                ("labels", patches.classes, np.uint8, 0),
            ):
                file.seek(offsets[name])
                for index, center in enumerate(patches.centers):
                    patch = cut_patch(volume, center, beyond)
                    patch = np.ascontiguousarray(patch, dtype=kind)
                    checksums[index] = zlib.crc32(patch, int(checksums[index]))
                    file.write(patch)
            file.seek(offsets["checksum"])
            file.write(checksums)


def read_case_file(path):
    """Reads the header of a patch file, and returns a `CaseFile`.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is no patch file, is damaged, or another version made it.
    """
    with open_hdf5(path) as file:
        description = _read_description(path, file)
        places = {}
        num_patches = len(file["checksum"]) if "checksum" in file else 0
        dtype = np.dtype(description["dtype"])
        for name, shape, kind in _datasets(num_patches, dtype):
            places[name] = _find(path, file, name, shape, kind)
        checksums = file["checksum"][:]
    offsets = places["images"], places["labels"]
    return CaseFile(Path(path), description, num_patches, offsets, checksums)


def check_agreement(description, source):
    """Checks that patches were made the way this version makes them.

    Args:
        description: Dict with the keys of `AGREEMENT`.
        source: Where it comes from, for the message.

    Raises:
        InputError: If a value differs or is missing; names both values.
    """
    for name, expected in AGREEMENT.items():
        if description.get(name) != expected:
            found = shortened(description.get(name, "missing"))
            raise InputError(
                f"{source} has {name} {found}; expected {expected}. Make the patches again with "
                "extract_patches.py, and train again."
            )


def _datasets(num_patches, dtype):
    """Returns name, shape and type of every dataset."""
    return (
        ("images", (num_patches, *SHAPE, len(MODALITIES)), dtype),
        ("labels", (num_patches, *SHAPE), np.dtype(np.uint8)),
        ("center", (num_patches, 3), np.dtype("<i4")),
        ("checksum", (num_patches,), np.dtype("<u4")),
    )


def _lay_out(path, patches, dtype, description):
    """Writes all but the patches and their checksums; returns the offset of every dataset."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # So that the offsets are known.
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)  # Extracted again, a file has the same bytes.
    offsets, text = {}, json.dumps(description)
    centers = (patches.centers + patches.origin).astype("<i4")
    datasets = _datasets(len(patches.centers), dtype)
    num_bytes = sum(np.prod(shape) * kind.itemsize for _, shape, kind in datasets)
    _reserve(path, int(num_bytes) + 2 * len(text) + 2**16)
    with h5py.File(path, "r+", locking=False) as file:
        # Of fixed length: one wrong bit in text of variable length can make HDF5 loop forever.
        file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
        file.attrs["case"] = np.bytes_(description["case"].encode())
        file.attrs["description"] = np.bytes_(text)
        file.attrs["header_checksum"] = _header_checksum(text.encode(), centers)
        for name, shape, kind in datasets:
            space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(kind)
            dataset = h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=creation)
            offsets[name] = dataset.get_offset()
        file["center"][...] = centers
    return offsets


def _reserve(path, num_bytes):
    """Makes an HDF5 file that holds nothing yet, with disk space for `num_bytes`.

    HDF5 ends the process with a segmentation fault if the disk is full when it closes a file.
    """
    with h5py.File(path, "w", driver="core", backing_store=False) as empty:  # In memory.
        empty.flush()
        content = empty.id.get_file_image()
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        if hasattr(os, "posix_fallocate"):  # Not on macOS.
            os.posix_fallocate(file.fileno(), 0, num_bytes)


def _read_description(path, file):
    """Returns the description in an open file, once it is one of this version."""
    found, version = file.attrs.get("format"), file.attrs.get("version")
    if not (isinstance(found, bytes) and found.decode("latin-1") == FORMAT):
        was = "of an older version" if str(found).strip('"') == FORMAT else "not a patch file"
        raise InputError(
            f"{path} is {was}. Make patches with extract_patches.py, which writes a folder with "
            "one file per case."
        )
    if version != VERSION:
        raise InputError(
            f"{path} is a patch file of version {version}; this program reads {VERSION}. Run "
            "extract_patches.py again, into another folder."
        )
    text, centers = file.attrs.get("description"), file.get("center")
    is_whole = isinstance(text, bytes) and isinstance(centers, h5py.Dataset)
    if not is_whole or _header_checksum(text, centers[...]) != file.attrs.get("header_checksum"):
        raise InputError(f"{path} has a damaged description. {REMEDY}")
    description = parse_json(text)
    check_agreement(description, path)
    return description


def _header_checksum(text, centers):
    return zlib.crc32(centers.tobytes(), zlib.crc32(text))


def _find(path, file, name, shape, kind):
    """Returns the offset of a dataset, once it is contiguous and within the file."""
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
        raise InputError(f"{path} links {name} to {link.path}; expected the data itself. {REMEDY}")
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or (dataset.shape, dataset.dtype) != (shape, kind):
        found = f"{dataset.shape} {dataset.dtype}" if isinstance(dataset, h5py.Dataset) else "none"
        raise InputError(f"{path} has {name} of {found}; expected {shape} {kind}. {REMEDY}")
    if not dataset.nbytes:
        return 0
    offset = dataset.id.get_offset()
    if dataset.chunks or dataset.external or offset is None:
        raise InputError(
            f"{path} keeps {name} in chunks, compressed or in another file; expected one "
            f"contiguous piece. {REMEDY}"
        )
    if offset + dataset.nbytes > Path(path).stat().st_size:
        raise InputError(f"{path} was cut short. Copy it again, or extract the case again.")
    return offset
