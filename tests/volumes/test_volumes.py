"""The crop by hand, and volumes on disk."""

import re
import shutil
import struct

import numpy as np
import pytest
import SimpleITK

from brats.cases.find import find_cases
from brats.editions import EDITIONS, MODALITIES
from brats.errors import InputError
from brats.volumes.files import build_image, read_case, read_modalities, read_volume, write_volume
from brats.volumes.geometry import Geometry, turn_grid
from brats.volumes.network_input import PUBLISHED_SHAPE, crop_window

SHAPE = (5, 6, 7)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0)  # x reversed, y and z exchanged.
TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)  # By 37 degrees around z.
GEOMETRY = Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.0), STRAIGHT)


def stored_along(direction):
    """Returns the geometry of a volume of `SHAPE` whose file has other axes."""
    size = turn_grid(SHAPE[::-1], Geometry(GEOMETRY.spacing_mm, (0.0,) * 3, direction))[0][::-1]
    stored = Geometry(GEOMETRY.spacing_mm, GEOMETRY.origin_mm, direction)
    shape, geometry = turn_grid(size, stored)
    assert shape == SHAPE
    return geometry


def count_up(dtype):
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def write_case(root, volumes=None, geometries=None, segmentation=None):
    """Writes a case of constant images, or of those given by modality, and finds it again."""
    folder = root / "BraTS2021_00000"
    files = dict.fromkeys(MODALITIES, np.ones(SHAPE, dtype=np.int16)) | (volumes or {})
    if segmentation is not None:
        files["seg"] = segmentation
    for name, volume in files.items():
        geometry = (geometries or {}).get(name, GEOMETRY)
        write_volume(folder / f"{folder.name}_{name}.nii.gz", volume, geometry)
    return find_cases(root, need_segmentation=False)[0]


def drawn(*rows, num_slices=3):
    """Returns a volume of a drawing in its middle slice, `(Z, Y, X)`: # is brain."""
    volume = np.zeros((num_slices, len(rows), len(rows[0].split())), dtype=np.int16)
    volume[num_slices // 2] = [[letter == "#" for letter in row.split()] for row in rows]
    return volume


def test_volumes_of_the_published_shape_get_the_published_window():
    volumes = [np.zeros(PUBLISHED_SHAPE, dtype=np.uint8)]
    expected = slice(1, 147), slice(29, 221), slice(42, 194)  # 146 x 192 x 152.
    assert crop_window(volumes, min_size=128) == expected


def test_axes_of_the_published_shape_are_not_exchangeable():
    volumes = [np.ones((240, 155, 240), dtype=np.uint8)]
    assert crop_window(volumes, min_size=128) == (slice(0, 240), slice(0, 155), slice(0, 240))


def test_other_shapes_get_the_box_of_the_brain():
    volume = drawn(". . . . .", ". # . . .", ". . . # .", ". . # # .")
    assert crop_window([volume], min_size=1) == (slice(1, 2), slice(1, 4), slice(1, 4))


def test_window_holds_the_brain_of_every_modality():
    first = drawn("# . . .", ". . . .", ". . . .")
    second = drawn(". . . .", ". # . .", ". . . .", num_slices=3)
    second[2, 1, 2] = -5
    assert crop_window([first, second], min_size=1) == (slice(1, 3), slice(0, 2), slice(0, 3))


def test_window_is_widened_evenly_to_the_least_size_in_the_plane_only():
    # Row 3 of 7 grows to rows 1 to 5. Columns 3 and 4 of 9 miss three: two before, one after.
    volume = np.zeros((5, 7, 9), dtype=np.int16)
    volume[2, 3, 3:5] = 1
    assert crop_window([volume], min_size=5) == (slice(2, 3), slice(1, 6), slice(1, 6))


def test_window_at_the_border_is_moved_inside_and_cut_to_the_slice():
    volume = np.zeros((2, 4, 9), dtype=np.int16)
    volume[0, 0, 8] = 1
    assert crop_window([volume], min_size=5) == (slice(0, 1), slice(0, 4), slice(4, 9))


def test_window_of_a_volume_without_brain_is_the_volume():
    volume = np.zeros(SHAPE, dtype=np.int16)
    assert crop_window([volume], min_size=2) == (slice(0, 5), slice(0, 6), slice(0, 7))


@pytest.mark.parametrize("direction", [STRAIGHT, FLIPPED, TURNED])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_volume_reads_back_as_written(tmp_path, dtype, direction):
    geometry = stored_along(direction)
    write_volume(tmp_path / "volume.nii.gz", count_up(dtype), geometry)
    volume, read = read_volume(tmp_path / "volume.nii.gz")
    assert (volume.dtype.name, volume.shape) == (dtype, SHAPE)
    assert np.array_equal(volume, count_up(dtype))
    assert read.is_close_to(geometry)
    assert read.as_stored.spacing_mm == pytest.approx((3, 2, 1), abs=1e-5)
    assert read.as_stored.origin_mm == pytest.approx((-7.5, 20, 4), abs=1e-5)
    assert read.as_stored.direction == pytest.approx(direction, abs=1e-5)


def test_volume_lies_in_the_file_where_other_programs_look_for_it(tmp_path):
    write_volume(tmp_path / "volume.nii.gz", count_up("int16"), GEOMETRY)
    image = SimpleITK.ReadImage(str(tmp_path / "volume.nii.gz"))
    x, y, z = 6, 5, 1
    assert image.GetSize() == SHAPE[::-1]
    assert image.GetPixel(x, y, z) == (z * 6 + y) * 7 + x
    assert image.TransformIndexToPhysicalPoint((x, y, z)) == (-7.5 + 3 * x, 20 + 2 * y, 4 + z)


def test_same_volume_is_written_as_the_same_bytes(tmp_path):
    for name in ("first.nii.gz", "second.nii.gz"):
        write_volume(tmp_path / name, count_up("uint8"), GEOMETRY)
    first, second = (tmp_path / name for name in ("first.nii.gz", "second.nii.gz"))
    assert first.read_bytes() == second.read_bytes()


def write_half(image, path, useCompression):  # noqa: N803, the name that SimpleITK gives it.
    with open(path, "wb") as file:
        file.write(b"half")


def write_and_fail(image, path, useCompression):  # noqa: N803
    write_half(image, path, useCompression)
    raise RuntimeError("No space left on device")


def write_all_but_the_end(image, path, useCompression, write=SimpleITK.WriteImage):  # noqa: N803
    """Cuts off the last slices, which are empty: what is missing, ITK reads as 0."""
    write(image, path, useCompression=useCompression)
    with open(path, "rb+") as file:
        file.truncate(file.seek(0, 2) - 12)


def write_other_voxels(image, path, useCompression, write=SimpleITK.WriteImage):  # noqa: N803
    write(image + 1, path, useCompression=useCompression)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (write_and_fail, "Cannot write .*volume.nii.gz. Is the disk full"),
        (write_half, "Cannot write .*volume.nii.gz. Is the disk full"),
        (write_all_but_the_end, "volume.nii.gz"),
        (write_other_voxels, "volume.nii.gz does not read back as written"),
    ],
)
def test_failing_write_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path, monkeypatch, rng, broken, message
):
    labels = rng.integers(0, 4, (40, 50, 60), dtype=np.uint8)
    labels[20:] = 0
    path = tmp_path / "volume.nii.gz"
    write_volume(path, count_up("uint8"), GEOMETRY)
    before = path.read_bytes()
    monkeypatch.setattr(SimpleITK, "WriteImage", broken)
    with pytest.raises(OSError, match=message):
        write_volume(path, labels, GEOMETRY)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("values", "found"),
    [([np.nan], "NaN in 1"), ([np.inf, np.nan, -np.inf], "NaN in 1 and infinity in 2")],
)
def test_values_that_are_not_finite_are_counted_with_the_file(tmp_path, values, found):
    # The NIfTI reader of ITK replaces them by 0, which is background, without a word.
    volume = count_up("float32")
    volume.flat[: len(values)] = values
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(tmp_path / "t1.nii.gz"))
    with pytest.raises(InputError, match=f"t1.nii.gz holds {found} of"):
        read_volume(tmp_path / "t1.nii.gz")


@pytest.mark.parametrize("shape", [(2, 5, 6, 7), (6, 7)])
def test_image_that_is_not_three_dimensional_is_refused_with_its_size(tmp_path, shape):
    image = SimpleITK.GetImageFromArray(np.zeros(shape, dtype=np.int16), isVector=False)
    SimpleITK.WriteImage(image, str(tmp_path / "t1.nii.gz"))
    size = re.escape(str(shape[::-1]))
    with pytest.raises(InputError, match=f"t1.nii.gz has size {size}; expected three"):
        read_volume(tmp_path / "t1.nii.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t1.nii.gz is empty"),
        (b"not an image", "t1.nii.gz begins with b'not '"),
        (b"\x1f\x8b\x08 nor this", "Cannot decompress .*t1.nii.gz"),
    ],
)
def test_file_that_is_not_nifti_is_named(tmp_path, content, message):
    (tmp_path / "t1.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path / "t1.nii.gz")


@pytest.mark.parametrize("name", ["t1.nii.gz", "t1.nii"])
def test_truncated_file_is_refused(tmp_path, rng, name):
    # ITK fills what is missing with 0, which is background, without a word.
    write_volume(tmp_path / name, rng.integers(0, 999, (20, 30, 40), dtype=np.int16), GEOMETRY)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-5000])
    with pytest.raises(InputError, match=name):
        read_volume(tmp_path / name)


def test_case_is_read_in_the_order_of_the_modalities(tmp_path):
    volumes = {
        name: np.full(SHAPE, value, np.int16) for value, name in enumerate(MODALITIES, start=5)
    }
    segmentation = np.array([0, 1, 2, 4] * 52 + [0, 1], dtype=np.uint8).reshape(SHAPE)
    raw = read_case(write_case(tmp_path, volumes, segmentation=segmentation))
    assert [volume.flat[0] for volume in raw.volumes] == [5, 6, 7, 8]
    assert raw.classes.dtype == np.uint8
    assert raw.classes.ravel()[:5].tolist() == [0, 1, 2, 3, 0]
    assert raw.geometry.is_close_to(GEOMETRY)


def test_case_without_ground_truth_has_no_classes(tmp_path):
    raw = read_case(write_case(tmp_path))
    assert raw.classes is None and len(raw.volumes) == 4


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        (Geometry((3.0, 2.0, 1.01), (-7.5, 20.0, 4.0), STRAIGHT), "spacing (3, 2, 1.01) mm"),
        (Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.01), STRAIGHT), "origin (-7.5, 20, 4.01)"),
        (Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.0), TURNED), "direction (0.8, -0.6, 0, "),
    ],
)
@pytest.mark.parametrize("name", ["t1ce", "seg"])
def test_geometry_that_differs_names_the_case_and_both_files(tmp_path, name, geometry, told):
    case = write_case(
        tmp_path, geometries={name: geometry}, segmentation=np.zeros(SHAPE, dtype=np.uint8)
    )
    with pytest.raises(InputError, match=re.escape(told)) as error:
        read_case(case)
    assert "case BraTS2021_00000 do not lie on one grid" in str(error.value)
    assert f"_{name}.nii.gz has" in str(error.value) and "_flair.nii.gz has" in str(error.value)


def test_size_that_differs_is_told_as_x_y_z(tmp_path):
    case = write_case(tmp_path, {"t2": np.ones((5, 7, 6), dtype=np.int16)})
    with pytest.raises(InputError, match=r"_t2.nii.gz has size \(6, 7, 5\).*size \(7, 6, 5\)"):
        read_case(case)


@pytest.mark.parametrize("label", [3, 5])
def test_unknown_label_names_the_case_and_the_file(tmp_path, label):
    segmentation = np.full(SHAPE, label, dtype=np.uint8)
    message = f"Case BraTS2021_00000, .*_seg.nii.gz: Unknown label values {label}; expected"
    with pytest.raises(InputError, match=message):
        read_case(write_case(tmp_path, segmentation=segmentation))


def test_label_3_is_enhancing_in_the_naming_of_2023(tmp_path):
    folder = tmp_path / "BraTS-GLI-00000-000"
    segmentation = np.full(SHAPE, 3, dtype=np.uint8)
    for suffix in (*EDITIONS["2023"].suffixes.values(), "-seg"):
        write_volume(folder / f"{folder.name}{suffix}.nii.gz", segmentation, GEOMETRY)
    (case,) = find_cases(tmp_path, need_segmentation=True)
    assert (read_case(case).classes == 3).all()


def write_msd_case(root, num_volumes=4, direction=STRAIGHT):
    """Writes an image of MSD whose k-th volume is 10 k and its place, and finds it again."""
    geometry = stored_along(direction)
    volumes = [build_image(10 * k + count_up("float32"), geometry) for k in range(num_volumes)]
    labels = np.array([0, 1, 2, 3] * 52 + [0, 1], dtype=np.uint8).reshape(SHAPE)
    write_volume(root / "labelsTr" / "BRATS_001.nii.gz", labels, geometry)
    (root / "imagesTr").mkdir()
    SimpleITK.WriteImage(SimpleITK.JoinSeries(volumes), str(root / "imagesTr" / "BRATS_001.nii.gz"))
    (case,) = find_cases(root, need_segmentation=True)
    return case, geometry


@pytest.mark.parametrize("direction", [STRAIGHT, FLIPPED, TURNED])
def test_image_of_msd_is_read_as_four_volumes_in_its_first_three_axes(tmp_path, direction):
    # FLAIR, T1w, T1gd, T2w; labels 1 edema, 2 necrosis, 3 enhancing.
    case, geometry = write_msd_case(tmp_path, direction=direction)
    raw = read_case(case)
    for k, volume in enumerate(raw.volumes):
        assert (volume.shape, volume.dtype.name) == (SHAPE, "float32")
        assert np.array_equal(volume, 10 * k + count_up("float32"))
    assert raw.classes.ravel()[:5].tolist() == [0, 2, 1, 3, 0]
    assert raw.geometry.is_close_to(geometry)
    assert np.shape(raw.geometry.direction) == (9,)


def test_some_modalities_are_read_in_the_order_asked_for(tmp_path):
    case, _ = write_msd_case(tmp_path)
    read = read_modalities(case, ("t1ce", "flair"))
    assert [volume.flat[0] for volume, _ in read] == [20, 0]
    files = write_case(tmp_path / "files", {"t1ce": np.full(SHAPE, 7, np.int16)})
    assert [v.flat[0] for v, _ in read_modalities(files, ("t1ce", "flair"))] == [7, 1]


@pytest.mark.parametrize("num_volumes", [2, 5])
def test_image_of_msd_with_another_number_of_volumes_is_refused(tmp_path, num_volumes):
    case, _ = write_msd_case(tmp_path, num_volumes)
    told = rf"BRATS_001.nii.gz has size \(7, 6, 5, {num_volumes}\).*the last of 4: flair, t1, t1ce"
    with pytest.raises(InputError, match=told):
        read_case(case)


def test_image_of_msd_in_three_dimensions_is_refused(tmp_path):
    case, _ = write_msd_case(tmp_path)
    write_volume(case.images["t1"], count_up("int16"), GEOMETRY)
    with pytest.raises(InputError, match=r"size \(7, 6, 5\); in a folder imagesTr, expected four"):
        read_case(case)


def test_missing_file_is_told_when_it_vanishes_after_the_search(tmp_path):
    case = write_case(tmp_path)
    shutil.rmtree(case.folder)
    with pytest.raises(InputError, match="Cannot read .*_flair.nii.gz: No such file or directory"):
        read_case(case)


@pytest.mark.parametrize("slope", [3e38, -3e38])
def test_whole_numbers_that_the_header_scales_beyond_floats_are_refused(tmp_path, slope):
    path = tmp_path / "t1.nii"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full(SHAPE, 200, np.int16)), str(path))
    stored = bytearray(path.read_bytes())
    struct.pack_into("<f", stored, 112, slope)
    path.write_bytes(stored)
    with pytest.raises(InputError, match="t1.nii holds values that are not finite once scaled"):
        read_volume(path)
