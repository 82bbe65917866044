"""What the reader gives back, and which files it refuses."""

import h5py
import numpy as np
import pytest

from brats.errors import InputError
from brats.patches.centers import cut_patch
from brats.patches.file import append_case, keep_case, laying_out
from brats.patches.reader import PatchReader, check_all_are_there, join_readers
from engine.training.batches import training_batches
from tests.synthetic import noise_patches, write_noise


@pytest.fixture
def patch_file(tmp_path, rng):
    path = tmp_path / "patches.h5"
    write_noise(path, rng)
    return path


def test_reader_gives_patches_in_the_order_asked_for_with_repeats(patch_file):
    reader = PatchReader(patch_file, "train")
    one_by_one = [reader.read([index]) for index in range(len(reader))]
    images, classes = reader.read([3, 0, 3, 4])
    assert (len(reader), images.shape, classes.shape) == (5, (4, 128, 128, 4), (4, 128, 128))
    assert (images.dtype.name, classes.dtype.name) == ("float32", "uint8")
    for position, index in enumerate([3, 0, 3, 4]):
        assert np.array_equal(images[position], one_by_one[index][0][0])
        assert np.array_equal(classes[position], one_by_one[index][1][0])


def test_reader_gives_the_patches_that_were_written(tmp_path, rng):
    patches = write_noise(tmp_path / "patches.h5", rng)
    images, classes = PatchReader(tmp_path / "patches.h5", "train").read(np.arange(5))
    for index, center in enumerate(patches.centers):
        assert np.array_equal(images[index], cut_patch(patches.channels, center))
        assert np.array_equal(classes[index], cut_patch(patches.classes, center))


def test_float16_patches_are_read_as_stored(tmp_path, rng):
    patches = write_noise(tmp_path / "patches.h5", rng, dtype="float16")
    images, _ = PatchReader(tmp_path / "patches.h5", "train").read([0])
    assert images.dtype == np.float16
    rounded = cut_patch(patches.channels, patches.centers[0]).astype(np.float16)
    assert np.array_equal(images[0], rounded)
    with h5py.File(tmp_path / "patches.h5", "r") as file:
        assert file["train/images"].dtype == np.float16


def test_reader_refuses_a_file_without_the_split(patch_file):
    with h5py.File(patch_file, "a") as file:
        del file["validation"]
    with pytest.raises(InputError, match="patches.h5 has no validation/images"):
        PatchReader(patch_file, "validation")


def test_reader_refuses_images_and_labels_of_different_number(patch_file):
    with h5py.File(patch_file, "a") as file:
        file["train/labels"].resize(4, axis=0)
    with pytest.raises(InputError, match="holds 5 images but 4 labels for train"):
        PatchReader(patch_file, "train")


def test_reader_refuses_patches_that_are_compressed_or_share_a_chunk(patch_file):
    for options in ({"chunks": (1, 128, 128), "compression": "lzf"}, {"chunks": (5, 128, 128)}):
        with h5py.File(patch_file, "a") as file:
            labels = file["train/labels"][:]
            del file["train/labels"]
            file.create_dataset("train/labels", data=labels, **options)
        with pytest.raises(InputError, match="train/labels in chunks of .* one patch per chunk"):
            PatchReader(patch_file, "train")


def test_reader_refuses_patches_that_were_never_written(patch_file):
    with h5py.File(patch_file, "a") as file:
        for name in ("images", "labels"):
            file[f"train/{name}"].resize(6, axis=0)
    with pytest.raises(InputError, match="lacks 1 of 6 patches of /train/images"):
        PatchReader(patch_file, "train")


def test_reader_tells_of_a_file_that_shrank(patch_file):
    reader = PatchReader(patch_file, "validation")
    with patch_file.open("rb+") as file:
        file.truncate(4096)
    with pytest.raises(InputError, match="patches.h5 ends before patch 1"):
        reader.read([1])


def test_reader_refuses_a_class_that_there_is_not(patch_file):
    with h5py.File(patch_file, "a") as file:
        labels = file["train/labels"][2]
        labels[5, 6] = 4
        file["train/labels"][2] = labels
    reader = PatchReader(patch_file, "train")
    reader.read([0, 1])
    with pytest.raises(InputError, match="patches.h5 has a pixel of class 4; expected 0 to 3"):
        reader.read([1, 2])


def replace_images(path, **options):
    with h5py.File(path, "a") as file:
        del file["train/images"]
        file.create_dataset("train/images", **options)


def test_reader_refuses_patches_of_another_shape_or_type(patch_file):
    replace_images(patch_file, shape=(5, 128, 128, 3), dtype="f4")
    with pytest.raises(InputError, match=r"train/images of \(5, 128, 128, 3\) float32; expected"):
        PatchReader(patch_file, "train")
    replace_images(patch_file, shape=(5, 128, 128, 4), dtype="f8")
    with pytest.raises(InputError, match="float64; expected .* float32 or float16"):
        PatchReader(patch_file, "train")


def test_reader_takes_no_memory_for_more_patches_than_the_file_can_hold(patch_file):
    shape = (2**40, 128, 128, 4)
    replace_images(patch_file, shape=shape, dtype="f4", chunks=(1, *shape[1:]))
    with h5py.File(patch_file, "a") as file:
        del file["train/labels"]
        file.create_dataset("train/labels", shape[:3], dtype="u1", chunks=(1, *shape[1:3]))
    with pytest.raises(InputError, match="too short for the 1099511627776 patches"):
        PatchReader(patch_file, "train")


def test_reader_names_a_file_that_hdf5_cannot_read(patch_file):
    patch_file.write_bytes(patch_file.read_bytes()[:5000])
    with pytest.raises(InputError, match="patches.h5 is a damaged HDF5 file: .*truncated file"):
        PatchReader(patch_file, "train")


def test_reader_refuses_a_data_set_in_place_of_a_split(patch_file):
    with h5py.File(patch_file, "a") as file:
        del file["train"]
        file["train"] = np.zeros(3)
    with pytest.raises(InputError, match="patches.h5 has no train/images"):
        PatchReader(patch_file, "train")


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (2, 3, 0, 1, 5, 4)])
def test_reader_finds_patches_whatever_their_order_in_the_file(patch_file, order):
    images = np.arange(6, dtype="f4").reshape(6, 1, 1, 1) * np.ones((1, 128, 128, 4), "f4")
    with h5py.File(patch_file, "a") as file:
        for name, values in (("images", images), ("labels", images[..., 0].astype("u1") // 2)):
            del file[f"train/{name}"]
            dataset = file.create_dataset(
                f"train/{name}", values.shape, values.dtype, chunks=(1, *values.shape[1:])
            )
            for index in order:
                dataset.id.write_direct_chunk((index, *[0] * (values.ndim - 1)), values[index])
    images, classes = PatchReader(patch_file, "train").read([4, 0, 5, 5, 2])
    for number, image, classes_of_one in zip([4, 0, 5, 5, 2], images, classes, strict=True):
        assert (image == number).all() and (classes_of_one == number // 2).all()


def test_reader_keeps_no_place_per_patch(tmp_path):
    centers = np.full((438, 3), 64)
    path = tmp_path / "sparse.h5"
    with path.open("wb") as file:
        file.truncate(10**9)
    with laying_out(path, "float32") as (file, disk):
        for case in range(5):
            keep_case(disk, file["train"], case, centers)
        disk.release()
    reader = PatchReader(path, "train")
    num_runs = [len(firsts) for firsts, _ in reader._runs]
    # HDF5 splits a node of its index, and lays a new one between patches, every 50 or so.
    assert len(reader) == 5 * 438 and max(num_runs) < len(reader) / 30
    assert reader.read([0, len(reader) - 1])[0].any() == 0


def test_reader_refuses_an_index_that_names_a_patch_twice_or_one_beyond(patch_file):
    reader = PatchReader(patch_file, "train")
    with pytest.raises(IndexError, match="not all among 5 patches"):
        reader.read([5])
    with pytest.raises(IndexError, match="not all among 5 patches"):
        reader.read([-1])
    with h5py.File(patch_file) as file:
        dataset = file["train/images"]
        for firsts, stops in (([0, 2], [3, 4]), ([0, 3], [3, 6]), ([0, 0], [5, 5])):
            with pytest.raises(InputError, match="damaged index of the patches of /train/images"):
                check_all_are_there(np.array(firsts), np.array(stops), dataset, patch_file)
        with pytest.raises(InputError, match="lacks 1 of 5 patches"):
            check_all_are_there(np.array([0, 3]), np.array([2, 5]), dataset, patch_file)


@pytest.fixture
def parts(tmp_path):
    """Three readers of 5, 0 and 2 patches; every pixel of a patch is its number of all 7."""
    readers = []
    for first, number in ((0, 5), (5, 0), (5, 2)):
        path = tmp_path / f"{first}-{number}.h5"
        with laying_out(path, "float32") as (file, _):
            for index in range(first, first + number):
                one = noise_patches(1, np.random.default_rng(0))
                one.channels[:], one.classes[:] = index, index % 4
                append_case(file["train"], 0, one)
        readers.append(PatchReader(path, "train"))
    return readers


def test_joined_readers_read_as_one(parts):
    reader = join_readers(parts)
    indices = [6, 0, 5, 4, 4, 5, 1]
    images, classes = reader.read(indices)
    assert (len(reader), images.dtype.name, classes.dtype.name) == (7, "float32", "uint8")
    assert images.shape == (7, 128, 128, 4) and classes.shape == (7, 128, 128)
    for index, image, classes_of_one in zip(indices, images, classes, strict=True):
        assert (image == index).all() and (classes_of_one == index % 4).all()
    assert reader.read([])[0].shape == (0, 128, 128, 4)
    with pytest.raises(IndexError):
        reader.read([7])


def test_one_reader_is_not_joined_with_anything(parts):
    assert join_readers(parts[:1]) is parts[0]


def test_a_pass_over_joined_files_holds_every_patch_of_each_once_in_mixed_order(parts, rng):
    batches = list(training_batches(join_readers(parts), 2, 4, rng))
    numbers = [int(image[0, 0, 0]) for images, *_ in batches for image in images]
    assert sorted(numbers[:7]) == list(range(7)) and len(numbers) == 8
    assert numbers[:7] != list(range(7)) and numbers[7] == numbers[0]
    for images, classes, _ in batches:
        assert (images[:, 0, 0, 0] % 4 == classes[:, 0, 0]).all()


def test_joined_readers_name_the_file_that_shrank(parts, tmp_path):
    reader = join_readers(parts)
    with (tmp_path / "5-2.h5").open("rb+") as file:
        file.truncate(4096)
    reader.read([4])
    with pytest.raises(InputError, match="5-2.h5 ends before patch 1"):
        reader.read([4, 6])
