"""Part files: the patches of one case, cut out by a worker, until the patch file takes them up.

In: a case. Out: a file of its patches in a folder beside the unfinished patch file, complete or
absent. Its first line is JSON, filled up to a multiple of 4,096 bytes: the attempt that it belongs
to, the machine that wrote it, and the step that the journal is to note. Images and labels follow
as the patch file holds them, one patch after the other.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brats.editions import MODALITIES
from brats.errors import InputError
from brats.files import parse_json
from brats.patches.file import AGREEMENT, cut, stored_bytes
from brats.unfinished import describe_machine, partial_path
from brats.volumes.network_input import PATCH_SIZE

BLOCK = 4096  # Bytes; so that the patches begin where a page of memory can.


@dataclass(frozen=True)
class Part:
    """A part file that is complete.

    Attributes:
        path: Its path.
        step: What the journal notes of the case once its patches are in the patch file.
        images: Patches as they are on disk, float32 or float16 `(K, 128, 128, M)`.
        labels: uint8 `(K, 128, 128)`.
    """

    path: Path
    step: dict
    images: np.ndarray
    labels: np.ndarray

    def remove(self):
        """Removes the part, and others that broken-off tries at its case have left."""
        index, _, _ = self.path.name.partition("-")
        for start in ("", ".writing-"):
            for path in self.path.parent.glob(f"{start}{index}-*"):
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Attempt:
    """Which parts belong together: the same folder, and the same settings of the extraction.

    Attributes:
        folder: Path of the folder of the parts.
        digest: SHA-256 of the settings, in hexadecimal.
    """

    folder: Path
    digest: str

    def find(self, index, states):
        """Finds the part of a case that an earlier try, or an earlier attempt, has left.

        Args:
            index: Index of the case, int.
            states: What `brats.patches.extract.file_states` says of its files now.

        Returns:
            A `Part`, or None if there is none that can be taken up.
        """
        for path in sorted(self.folder.glob(f"{index:06d}-*")):
            with contextlib.suppress(OSError, InputError):
                part = self.read(path)
                if part.step["files"] == json.loads(json.dumps(states)):
                    return part
        return None

    def write(self, index, step, patches, dtype):
        """Writes a part; returns its path, which no other try of the same case has.

        Args:
            index: Index of the case, int.
            step: Dict that JSON can hold, for the journal.
            patches: A `CasePatches`.
            dtype: Type of the stored images.

        Raises:
            OSError: If it cannot be written, or the folder is not there.
        """
        path = self.folder / f"{index:06d}-{uuid.uuid4().hex}"
        temporary = path.with_name(f".writing-{path.name}")
        names = {"attempt": self.digest, "machine": describe_machine(), "dtype": str(dtype)}
        text = json.dumps(names | {"step": step}).encode()
        try:
            with open(temporary, "wb") as file:
                file.write(text + b" " * (-(len(text) + 1) % BLOCK) + b"\n")
                for arrays in cut(patches, np.dtype(dtype)):
                    for array in arrays:
                        file.write(array)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return path

    def read(self, path):
        """Opens a part, whose patches are read from disk as they are used.

        Raises:
            OSError: If it cannot be read.
            InputError: If it is damaged, of another attempt, or of a machine that was restarted
                since, and so may lack what was in memory then.
        """
        with open(path, "rb") as file:
            line = file.readline()
            try:
                head = parse_json(line)
                attempt, (host, boot), step = (
                    head[name] for name in ("attempt", "machine", "step")
                )
                num_patches, dtype = len(step["centers"]), np.dtype(head["dtype"])
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"The part {path} is damaged: {error}. Delete it.") from error
            here, start = describe_machine()
            if attempt != self.digest or (host == here and boot != start):
                raise InputError(f"The part {path} is of another attempt. Delete it.")
            shape = (num_patches, PATCH_SIZE, PATCH_SIZE)
            if file.seek(0, os.SEEK_END) != len(line) + stored_bytes(num_patches, dtype):
                raise InputError(f"The part {path} was cut short. Delete it.")
            if not num_patches:  # Nothing can be mapped.
                return Part(path, step, np.empty((0,)), np.empty((0,)))
            images = np.memmap(file, dtype, "r", len(line), (*shape, len(MODALITIES)))
            labels = np.memmap(file, np.uint8, "r", len(line) + images.nbytes, shape)
        return Part(path, step, images, labels)

    def count(self):
        """Returns the number of parts in the folder, int."""
        return len(list(self.folder.glob("[0-9]*")))


def parts_path(output):
    """Returns the folder of the parts of a patch file."""
    partial = partial_path(output)
    return partial.with_name(f"{partial.name}.parts")


@contextlib.contextmanager
def collecting(output, settings, resume):
    """Gives the parts of an attempt at a patch file, and removes their folder afterwards.

    If the block raises, parts that it has not taken up are kept, and an empty folder is removed.

    Args:
        output: Path of the patch file, which is locked.
        settings: Dict that JSON can hold, of all that patches depend on.
        resume: Whether to take up the parts of an earlier attempt; otherwise they are removed.

    Yields:
        An `Attempt`, whose folder may not exist.
    """
    text = json.dumps(AGREEMENT | settings, sort_keys=True)
    folder = parts_path(output).absolute()  # As workers have to know it.
    attempt = Attempt(folder, hashlib.sha256(text.encode()).hexdigest())
    if not resume:
        remove_parts(output)
    try:
        yield attempt
        remove_parts(output)
    finally:
        with contextlib.suppress(OSError):
            for path in attempt.folder.glob(".*"):
                path.unlink(missing_ok=True)
            attempt.folder.rmdir()


def remove_parts(output):
    """Removes the parts of a patch file; what cannot be removed is in nobody's way."""
    shutil.rmtree(parts_path(output), ignore_errors=True)
