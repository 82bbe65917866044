"""Damaged HDF5 files: each function changes one object of a valid file, by a seeded generator.

In: the path of an HDF5 file. Out: the same file with one fault or a few.
"""

import json

import h5py
import numpy as np

from tests.mutations import choose, mutate_bytes, mutate_json


def mutate_hdf5(path, rng):
    """Changes an HDF5 file: its objects and attributes, its bytes, or both."""
    kind = rng.integers(4)
    if kind:
        with h5py.File(path, "r+") as file:
            for _ in range(rng.integers(1, 3)):
                choose(rng, (_mutate_attribute, _mutate_object, _mutate_object))(file, rng)
    if kind < 2:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))


def _mutate_attribute(file, rng):
    found = [file]
    file.visititems(lambda _, item: found.append(item))
    places = [(item, name) for item in found for name in item.attrs]
    item, name = choose(rng, places or [(file, "new")])
    value = item.attrs.get(name, "1")
    item.attrs.pop(name, None)
    kind = rng.integers(6)
    if kind == 1 and isinstance(value, str):
        try:
            text = mutate_json(json.loads(value), rng)
        except ValueError:
            text = mutate_bytes(value.encode(), rng)
        item.attrs[name] = np.void(text[:60_000] or b"\0") if b"\0" in text else text[:60_000]
    elif kind == 2:
        item.attrs[name] = choose(rng, (0, -1, 1.5, True, float("nan"), "", "theano", "no/where"))
    elif kind == 3:
        item.attrs[name] = [value] * 2
    elif kind == 4:
        item.attrs[name] = choose(rng, (h5py.Empty("f"), file.ref, np.zeros((0, 3)), b"\xff\xfe"))
    elif kind == 5:
        record = np.zeros(2, dtype=[("a", "i4"), ("b", "S3")])
        item.attrs[name] = choose(rng, (record, np.zeros(5000), [b"a", b"b"], "x" * 50_000))


def _mutate_object(file, rng):
    names = []
    file.visit(names.append)
    if not names:
        return
    name = choose(rng, names)
    old = file.get(name)
    is_small = isinstance(old, h5py.Dataset) and 0 < old.nbytes < 2**24  # Not made huge before.
    shape = old.shape if is_small and old.shape else (2, 3)
    values = old[()] if is_small else np.zeros(shape)
    attributes = dict(old.attrs) if old is not None else {}
    del file[name]
    new = choose(rng, OBJECT_FAULTS)(file, name, shape, values, rng)
    for key, value in attributes.items() if new is not None else ():
        new.attrs[key] = value


def _write_other_type(file, name, shape, values, rng):
    kind = choose(rng, ("u1", "i8", "f8", "f2", ">f4", "c16", "S4", "bool", [("r", "f4")]))
    chunks = (1, *shape[1:]) if len(shape) > 1 and 0 not in shape else None
    return file.create_dataset(name, shape, kind, chunks=chunks, maxshape=shape)


def _write_other_shape(file, name, shape, values, rng):
    new = choose(rng, ((), (0,), shape[1:], (*shape, 1), shape[::-1], (1, *shape[1:])))
    return file.create_dataset(name, new, "f4")


def _write_huge(file, name, shape, values, rng):
    """Writes nothing but a fill value, under a shape that no memory holds."""
    first = choose(rng, (2**20, 2**30, 2**40, 2**62 // int(np.prod(shape[1:]) or 1)))
    new = choose(rng, ((first, *shape[1:]), (*shape[:-1], first)))
    chunks = tuple(min(size, 64) or 1 for size in new)
    return file.create_dataset(name, new, "u1", chunks=chunks, fillvalue=1)


def _write_other_chunks(file, name, shape, values, rng):
    if np.ndim(values) == 0 or 0 in values.shape:
        return file.create_dataset(name, data=values)
    chunks = tuple(int(rng.integers(1, size + 1)) for size in values.shape)
    method = choose(rng, (None, "gzip", "lzf"))
    checksum = bool(rng.integers(2))
    return file.create_dataset(
        name, data=values, chunks=chunks, compression=method, fletcher32=checksum
    )


def _write_link(file, name, shape, values, rng):
    other = choose(rng, ("/nowhere", name, "/"))
    kind = choose(rng, (h5py.SoftLink, lambda path: h5py.ExternalLink("absent.h5", path)))
    file[name] = kind(other)


def _write_references(file, name, shape, values, rng):
    return file.create_dataset(name, data=[file.ref] * 3, dtype=h5py.ref_dtype)


def _write_text(file, name, shape, values, rng):
    return file.create_dataset(name, data=["a", "b"], dtype=h5py.string_dtype())


def _write_external(file, name, shape, values, rng):
    source = choose(rng, ("absent.raw", "/proc/self/status"))
    return file.create_dataset(name, shape, "f4", external=[(source, 0, h5py.h5f.UNLIMITED)])


def _write_group(file, name, shape, values, rng):
    return file.create_group(name)


def _remove_object(file, name, shape, values, rng):
    return None


OBJECT_FAULTS = (
    _write_other_type, _write_other_shape, _write_huge, _write_other_chunks, _write_link,
    _write_references, _write_text, _write_external, _write_group, _remove_object,
)  # fmt: skip
