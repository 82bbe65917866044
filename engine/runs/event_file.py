"""TensorBoard's event files. Imports the package `tensorboard`, an optional install.

In: scalars and pictures, each with a tag and a step. Out: a file that `tensorboard` shows while it
grows.

The `summary.Writer` of the package has no pictures, and imports TensorFlow where it finds it,
whatever the backend; so the package's messages and records are used here, which need neither.
"""

import io
import time

import matplotlib.image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.errors import DataLossError, OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.summary.writer.record_writer import RecordWriter

from brats.files import replacing
from engine.runs.folder import EVENT_FILE


class EventFile:
    """The one event file of a folder, which goes on with what earlier ones hold.

    It is a new file, as a running TensorBoard would not see that the old one was replaced.

    Args:
        folder: A `Path`.
        scalars: List of `(tag, step, value)` that the file has to hold, by rising steps; those that
            earlier files lack are added.
        keeps: Function from a tag and a step to whether what earlier files hold is still true.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, folder, scalars, keeps):
        old_paths = sorted(folder.glob(EVENT_FILE.format("*")))
        events = {scalar[:2]: _scalar_event(*scalar) for scalar in scalars}
        for event in (event for path in old_paths for event in _read(path)):
            key = event.summary.value[0].tag, event.step
            if keeps(*key):
                events[key] = event
        self._path = folder / EVENT_FILE.format(f"{time.time():.0f}")
        with replacing(self._path) as temporary:
            version = Event(wall_time=time.time(), file_version="brain.Event:2")
            _append(temporary, [version, *events.values()])
        for path in old_paths:
            if path != self._path:
                path.unlink()

    def add_scalars(self, scalars):
        """Adds scalars, a list of `(tag, step, value)`."""
        _append(self._path, [_scalar_event(*scalar) for scalar in scalars])

    def add_picture(self, tag, step, picture):
        """Adds a picture, red, green and blue as uint8 `(H, W, 3)`."""
        file = io.BytesIO()
        matplotlib.image.imsave(file, picture, format="png", metadata={"Software": None})
        height, width, num_colors = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=num_colors, encoded_image_string=file.getvalue()
        )
        _append(self._path, [_event(tag, step, image=image)])


def _scalar_event(tag, step, value):
    return _event(tag, step, simple_value=value)


def _event(tag, step, **content):
    summary = Summary(value=[Summary.Value(tag=tag, **content)])
    return Event(wall_time=time.time(), step=step, summary=summary)


def _append(path, events):
    """Appends events to a file, which is closed again, so that readers see them."""
    with open(path, "ab") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


def _read(path):
    """Yields the events of a file that hold a value, up to where it is cut short."""
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except (OutOfRangeError, DataLossError):
            return
        event = Event.FromString(reader.record())
        if event.summary.value:
            yield event
