"""The file below HDF5: laid out anew from its first byte, without losing what it holds.

In: a path, and the writes of HDF5. Out: the bytes on disk. HDF5 can neither create a file over an
older one without emptying it, nor bear that a write fails when it closes a file.
"""

import contextlib
import io
import os
from pathlib import Path


class LayoutFile(io.FileIO):
    """A file that HDF5 takes for an empty one, to be given to `h5py.File` with mode "w".

    Attributes:
        path: Path of the file.
        kept_bytes: Bytes that stay, laid out again or not, int: the size of the file when it was
            opened, until `release` is called.
        end: Bytes that HDF5 has laid out, int.

    Args:
        path: Path of the file, made if there is none.

    Raises:
        OSError: If the file cannot be opened for writing.
    """

    def __init__(self, path):
        super().__init__(path, "rb+" if Path(path).exists() else "xb+")
        self.path = path
        self.kept_bytes = os.fstat(self.fileno()).st_size
        self.end = self._position = 0
        self._kept_size = None
        self._is_muted = False
        self._error = None

    def seek(self, offset, whence=os.SEEK_SET):
        """Notes where to read or write next; the end is where HDF5 has come to."""
        self._position = self.end if whence == os.SEEK_END else offset
        return self._position

    def readinto(self, buffer):
        """Reads into a buffer from the noted position on; returns the number of bytes."""
        super().seek(self._position)
        size = super().readinto(buffer)
        self._position += size
        return size

    def write(self, data):
        """Writes all of `data`, unless it is in place already or a write has failed before.

        A failure is kept for `check_written`: HDF5 crashes if it cannot write on closing.
        """
        rest = memoryview(data).cast("B")
        size, place = len(rest), self._position
        self._position += size
        self.end = max(self.end, self._position)
        if size != self._kept_size and not self._is_muted:
            try:
                while rest:  # A disk that becomes full takes a part first.
                    written = os.pwrite(self.fileno(), rest, place)
                    rest, place = rest[written:], place + written
            except OSError as error:
                self._is_muted, self._error = True, error
        return size

    def truncate(self, size=None):
        """Notes the size that HDF5 gives the file on closing; what lies behind is reserved."""
        self.end = size
        return size

    @contextlib.contextmanager
    def keeping(self, size):
        """Leaves what is on disk in the place of writes of `size` bytes."""
        self._kept_size = size
        try:
            yield
        finally:
            self._kept_size = None

    def give_back(self):
        """Gives the disk space back that is reserved behind what has been laid out."""
        os.truncate(self.path, max(self.end, self.kept_bytes))

    def release(self):
        """Gives up what the file held when it was opened, but for what has been laid out again."""
        self.kept_bytes = 0

    @contextlib.contextmanager
    def muted_after_error(self):
        """Writes nothing any more once the block has raised.

        Raises:
            OSError: The first write that has failed, instead of what followed from it.
        """
        try:
            yield
        except BaseException:
            self._is_muted = True
            self.check_written()
            raise

    def check_written(self):
        """Checks that every write has succeeded.

        Raises:
            OSError: The first that has not.
        """
        if self._error:
            raise self._error
