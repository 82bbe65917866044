"""Damaged files: each function changes what a valid file holds, by a seeded generator.

In: bytes, a value of JSON or rows of a table. Out: the same with one fault or a few.
`tests/fuzzing.py` gives the results to the readers.
"""

import copy
import gzip
import io
import json
import struct
import zipfile

# Fields of the NIfTI-1 header: offset, type and number of values.
# Reference: nifti1.h, https://nifti.nimh.nih.gov/nifti-1.
NIFTI_FIELDS = (
    (0, "i", 1), (39, "B", 1), (40, "h", 8), (40, "h", 1), (42, "h", 3), (56, "f", 3),
    (68, "h", 1), (70, "h", 1), (72, "h", 1), (74, "h", 1), (76, "f", 8), (108, "f", 1),
    (112, "f", 1), (116, "f", 1), (120, "h", 1), (122, "B", 2), (124, "f", 2), (148, "B", 80),
    (252, "h", 2), (256, "f", 6), (280, "f", 12), (344, "B", 4), (348, "B", 4),
)  # fmt: skip
INTERESTING = {
    "B": (0, 1, 127, 128, 255),
    "h": (0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 64, 128, 256, 512, 1280, 32767, -32768),
    "i": (0, 1, -1, 348, 540, 1543569408, 2**31 - 1, -(2**31)),
    "f": (0, 1, -1, 0.5, 352, 1e-45, 3e38, -3e38, float("nan"), float("inf"), float("-inf")),
}
STRANGE_VALUES = (
    None, True, 0, -1, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "nan", "\0", "\ud800",
    "../../etc", "x" * 5000, [], {}, [[]], [None], {"": None}, [0] * 1000, {"a": {"b": {"c": 1}}},
)  # fmt: skip
STRANGE_CELLS = ("", "nan", "inf", "1e999", "x" * 200_000, '"', "\0", "\n", ",", "\ud800", "-", "é")


def choose(rng, values):
    """Returns one of several values, as it is."""
    return values[rng.integers(len(values))]


def mutate_bytes(data, rng):
    """Returns bytes with one to three faults."""
    for _ in range(rng.integers(1, 4)):
        data = choose(rng, BYTE_FAULTS)(bytearray(data), rng)
    return bytes(data)


def _place(data, rng):
    """Returns an index, often near the beginning, where headers are."""
    return int(rng.integers(min(len(data), choose(rng, (64, 512, 4096, len(data)))) or 1))


def _flip_bits(data, rng):
    for _ in range(rng.integers(1, 9) if data else 0):
        data[_place(data, rng)] ^= 1 << rng.integers(8)
    return data


def _set_word(data, rng):
    kind = choose(rng, "BHIQ")
    place, value = _place(data, rng), choose(rng, (0, 1, -1, 1 << 62, 255, 65535))
    word = struct.pack(choose(rng, "<>") + kind, value % (1 << 8 * struct.calcsize("=" + kind)))
    data[place : place + len(word)] = word[: len(data) - place]
    return data


def _truncate(data, rng):
    return data[: _place(data, rng)] if rng.integers(2) else data[: -rng.integers(1, 9)]


def _remove(data, rng):
    place = _place(data, rng)
    del data[place : place + rng.integers(1, 65)]
    return data


def _insert(data, rng):
    place = _place(data, rng)
    data[place:place] = rng.bytes(rng.integers(1, 65))
    return data


def _repeat(data, rng):
    place = _place(data, rng)
    data[place:place] = data[place : place + rng.integers(1, 513)]
    return data


def _append_itself(data, rng):
    return data + data


BYTE_FAULTS = (
    _flip_bits, _flip_bits, _set_word, _set_word, _truncate, _remove, _insert, _repeat,
    _append_itself,
)  # fmt: skip


def mutate_nifti(data, rng):
    """Returns an uncompressed NIfTI file with changed fields of the header, or other faults."""
    kind = rng.integers(10)
    data = bytearray(data)
    if kind < 7:
        for _ in range(rng.integers(1, 3)):
            _set_field(data, rng)
    if kind == 7:
        data = _swap_byte_order(data, rng)
    return mutate_bytes(data, rng) if kind >= 8 or rng.integers(5) == 0 else bytes(data)


def _set_field(data, rng):
    offset, kind, count = choose(rng, NIFTI_FIELDS)
    size = struct.calcsize(kind)
    for index in range(count) if rng.integers(2) else [rng.integers(count)]:
        struct.pack_into("<" + kind, data, offset + size * index, choose(rng, INTERESTING[kind]))


def _swap_byte_order(data, rng):
    """Returns a file whose header, some of it or all, is in the other order of bytes."""
    for offset, kind, count in NIFTI_FIELDS:
        if rng.integers(10):
            values = struct.unpack_from(f"<{count}{kind}", data, offset)
            struct.pack_into(f">{count}{kind}", data, offset, *values)
    return data


def compress(data, rng):
    """Returns a gzip file, often whole around damaged content, sometimes damaged itself."""
    kind = rng.integers(8)
    if kind == 0 and len(data) > 1:  # Of several parts.
        cut = rng.integers(1, len(data))
        return gzip.compress(data[:cut], 1) + gzip.compress(data[cut:], 1)
    whole = gzip.compress(data, 1)
    return mutate_bytes(whole, rng) if kind < 3 else whole


def expand(data):
    """Returns what a gzip file holds; other bytes as they are."""
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def mutate_json(value, rng):
    """Returns the bytes of JSON of a value with one to three faults, in structure or in text."""
    value = copy.deepcopy(value)
    kind = rng.integers(8)
    for _ in range(rng.integers(1, 4) if kind < 6 else 0):
        value = _mutate_value(value, rng)
    text = json.dumps(value, indent=choose(rng, (None, 2))).encode()
    if kind == 6:
        deep = choose(rng, (100, 2000, 200_000))
        text = text.replace(b"1", b"[" * deep + b"]" * choose(rng, (deep, 0)), 1)
    return mutate_bytes(text, rng) if kind == 7 else text


def _mutate_value(value, rng):
    """Returns a value with another one in it, one less, or one more; at any depth."""
    if not (isinstance(value, dict | list) and value) or rng.integers(12) == 0:
        return copy.deepcopy(choose(rng, STRANGE_VALUES))
    key = choose(rng, list(value)) if isinstance(value, dict) else int(rng.integers(len(value)))
    kind = rng.integers(10)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, list):
        value.extend(value[: int(rng.integers(1, 5))])
    elif kind == 1:
        value["".join(map(chr, rng.integers(0, 300, 5)))] = value[key]
    else:
        value[key] = _mutate_value(value[key], rng)
    return value


def mutate_csv(rows, rng):
    """Returns the bytes of a table, a list of lists of text, with one to three faults."""
    rows = [list(row) for row in rows]
    kind = rng.integers(6)
    for _ in range(rng.integers(1, 4) if kind < 5 else 0):
        row = choose(rng, rows)
        place = int(rng.integers(len(row) or 1))
        fault = rng.integers(6)
        if fault == 0:
            del row[place:]
        elif fault == 1:
            row[place:place] = [choose(rng, STRANGE_CELLS)]
        elif fault == 2:
            rows.insert(0, row)
        else:
            row[place : place + 1] = [choose(rng, STRANGE_CELLS)]
    ending = choose(rng, ("\r\n", "\n", "\r"))
    text = ending.join(map(",".join, rows)) + ending
    encoding = choose(rng, ("utf-8", "utf-8", "utf-8", "latin-1", "utf-16", "utf-8-sig"))
    data = text.encode(encoding, "surrogatepass" if "utf" in encoding else "replace")
    return mutate_bytes(data, rng) if kind == 5 else data


def mutate_archive(data, rng, mutate_member):
    """Returns a zip archive in which one member is damaged, missing or there twice.

    Args:
        data: Bytes of the archive.
        rng: Generator.
        mutate_member: Function from name and bytes of a member, and `rng`, to its new bytes.
    """
    kind = rng.integers(10)
    if kind == 0:
        return mutate_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    index = int(rng.integers(len(members)))
    name, content = members[index]
    if kind == 1:
        del members[index]
    elif kind == 2:
        members[index] = (choose(rng, ("../x", "a/b", "metadata.json", "é\\", "x")), content)
    else:
        members[index] = (name, mutate_member(name, content, rng))
    stored = io.BytesIO()
    method = choose(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(stored, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stored.getvalue()
