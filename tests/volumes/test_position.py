"""A volume lies where ITK reads it, and a prediction has the position fields of its input."""

import gzip
import itertools
import struct

import numpy as np
import pytest
import SimpleITK

from brats.errors import InputError
from brats.volumes.files import read_volume, write_volume

# First bytes and lengths of the fields: sign, voxel size, unit, codes and both transforms.
SIGN, SPACING, UNITS, CODES, SFORM = 76, 80, 123, 252, 280
FIELDS = ((SIGN, 4), (SPACING, 12), (UNITS, 1), (CODES, 76))
SPACING_MM, ORIGIN_MM = (1.0, 2.0, 3.0), (-7.5, 20.0, 4.0)
MATRIX = np.array([[-1, 0, 0, 7.5], [0, -2, 0, -20], [0, 0, 3, 4]])  # The sform, in RAS axes.


def edited(content, *edits):
    """Returns a file with other values in its header, each as (first byte, format, *values)."""
    content = bytearray(content)
    for place, kind, *values in edits:
        struct.pack_into(f"<{kind}", content, place, *values)
    return bytes(content)


def write_image(path, axes="LPS"):
    """Writes a volume of 5 x 6 x 7 voxels; returns its bytes."""
    image = SimpleITK.GetImageFromArray(np.arange(210, dtype=np.uint8).reshape(5, 6, 7))
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(ORIGIN_MM)
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, axes), str(path))
    return path.read_bytes()


def read_and_write(path, content):
    """Reads a file; returns its `Geometry`, and checks that it is written as it was."""
    path.write_bytes(content)
    volume, geometry = read_volume(path)
    write_volume(path.with_name("written.nii.gz"), volume, geometry)
    written = gzip.decompress(path.with_name("written.nii.gz").read_bytes())
    for first, length in FIELDS:
        fields = np.frombuffer(content, "u1", length, first)
        if first == SPACING:  # Its absolute value.
            fields = np.abs(fields.view("<f4")).view("u1")
        assert written[first : first + length] == fields.tobytes()
    assert written[352:] == content[352:]
    return geometry.as_stored


@pytest.mark.parametrize("codes", list(itertools.product((0, 1, 2), repeat=2)))
@pytest.mark.parametrize("axes", ["LPS", "AIR"])
def test_of_two_transforms_10_mm_apart_that_of_itk_is_used_with_a_warning(tmp_path, axes, codes):
    path = tmp_path / "t1.nii"
    content = write_image(path, axes)
    x = struct.unpack_from("<f", content, SFORM + 12)[0]
    geometry = read_and_write(
        path, edited(content, (CODES, "2h", *codes), (SFORM + 12, "f", x + 10))
    )
    itk = SimpleITK.ReadImage(str(path))
    assert geometry.spacing_mm == itk.GetSpacing()
    assert geometry.origin_mm == pytest.approx(itk.GetOrigin())
    assert geometry.direction == pytest.approx(itk.GetDirection())
    if all(codes):
        other, used = ("qform", "sform") if codes[1] == 1 else ("sform", "qform")
        warning = f"{other} and {used} of the header place voxels up to 10.0 mm apart; the {used}"
        assert geometry.warnings[0].startswith(warning)
    else:
        assert bool(geometry.warnings) == (codes == (0, 0))


def units(code, factor):
    """Returns the edits that write the position in another unit."""
    matrix = MATRIX * factor
    quaternion = (CODES + 4, "6f", 0, 0, 1, *matrix[:, 3])
    spacing = (SPACING, "3f", *np.multiply(SPACING_MM, factor))
    return (UNITS, "B", code), spacing, quaternion, (SFORM, "12f", *matrix.ravel())


STRETCHED, ZEROS = MATRIX * [1.5, 1, 1, 1], (SFORM, "12f", *np.zeros(12))
LEANING = MATRIX + [[0, 0.001, 0, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize(
    ("edits", "warning"),
    [
        ([ZEROS], None),
        ([ZEROS, (CODES, "2h", 0, 1)], "neither qform nor sform"),
        (units(1, 0.001), None),  # Meters.
        (units(3, 1000), None),  # Micrometers.
        ([(SPACING, "3f", 1, -2, 3)], None),
        ([(CODES, "2h", 1, 0), (CODES + 4, "3f", 0, 0, 1.1)], None),  # A quaternion above 1.
        ([(UNITS, "B", 7)], None),  # No unit has this code.
        # Seven voxels of 1.5 mm end 6 * 0.5 mm behind seven of 1 mm.
        (
            [(CODES, "2h", 0, 1), (SFORM, "12f", *STRETCHED.ravel())],
            "sform and voxel size (pixdim) of the header place voxels up to 3.0 mm apart",
        ),
        ([(CODES, "2h", 0, 1), (SFORM, "12f", *LEANING.ravel())], None),  # By rounding.
    ],
)
def test_odd_headers_give_the_same_voxels_of_1_x_2_x_3_mm(tmp_path, capfd, edits, warning):
    path = tmp_path / "t1.nii"
    geometry = read_and_write(path, edited(write_image(path), *edits))
    assert capfd.readouterr() == ("", "")  # ITK prints warnings about some of these.
    assert geometry.spacing_mm == pytest.approx(SPACING_MM)
    assert geometry.voxel_ml == pytest.approx(0.006)
    assert geometry.direction == pytest.approx(np.eye(3).ravel(), abs=1e-3)
    if warning and "neither" in warning:
        assert geometry.origin_mm == (0, 0, 0)
    else:
        assert geometry.origin_mm == pytest.approx(ORIGIN_MM)
    assert (warning is None) == (not geometry.warnings)
    if warning:
        assert warning in geometry.warnings[0]


SHEARED = MATRIX + [[0, 0.3, 0, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (
            [(CODES, "2h", 0, 1), (SFORM, "12f", *SHEARED.ravel())],
            r"t1.nii: the axes .* \(sheared\). Resample the case",
        ),
        ([(UNITS, "B", 1)], "t1.nii has voxels of 1000 x 2000 x 3000 mm; expected 0.1 to 10 mm"),
        ([(SPACING, "f", 0.001)], "0.001 x 2 x 3 mm.* Correct the voxel size in its header, or"),
    ],
)
def test_headers_of_which_nothing_sensible_follows_are_refused(tmp_path, edits, message):
    path = tmp_path / "t1.nii"
    path.write_bytes(edited(write_image(path), *edits))
    with pytest.raises(InputError, match=message):
        read_volume(path)


def test_sheared_axes_beside_a_qform_are_a_warning(tmp_path):
    path = tmp_path / "t1.nii"
    # The sixth row lies 5 * 0.3 mm from where it should.
    content = edited(write_image(path), (SFORM, "12f", *SHEARED.ravel()))
    assert "up to 1.5 mm apart; the qform" in read_and_write(path, content).warnings[0]
