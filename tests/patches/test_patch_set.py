"""Several patch files as one set: what they have to agree in, and what is kept of them."""

import json

import pytest

from brats.editions import EDITIONS
from brats.errors import InputError
from brats.patches.file import AGREEMENT, laying_out, write_settings
from brats.patches.set import describe_other_patches, read_set_settings

LABELS_2017, LABELS_2023 = ([int(v) for v in EDITIONS[name].labels] for name in ("2017", "2023"))


def of_cases(train, validation=(), edition="2017", **more):
    """Returns what an extraction of some cases writes into its file."""
    return {
        "dtype": "float32",
        "patches_per_case": 438,
        "seed": 0,
        "data_root": "data",
        "label_schemes": {edition: list(EDITIONS[edition].labels)},
        "trained_as_background": {},
        "cases": sorted([*train, *validation]),
        "split": {"train": list(train), "validation": list(validation)},
        "warnings": {},
        "class_shares": [0.9, 0.05, 0.03, 0.02],
        "versions": {},
        "commit": "unknown",
    } | more


@pytest.fixture
def write(tmp_path):
    """Writes patch files without patches, a.h5, b.h5 and so on; returns their paths."""

    def write_all(*all_settings):
        paths = []
        for name, settings in zip("abcdef", all_settings, strict=False):
            paths.append(str(tmp_path / f"{name}.h5"))
            with laying_out(paths[-1], "float32") as (file, _):
                write_settings(file, settings)
        return paths

    return write_all


def test_a_single_file_is_what_it_says(write):
    settings = {"seed": 3}  # Not even a split: nothing is held against anything.
    assert read_set_settings(write(settings)) == AGREEMENT | settings


def test_a_set_has_the_cases_of_all_files_in_their_order_and_what_each_says(write):
    first = of_cases(["m", "n", "o"], ["l"], warnings={"m": ["odd"]})
    second = of_cases(
        ["BraTS-GLI-00001-000"], edition="2023", seed=4, data_root="other", commit="abc",
        class_shares=[0.8, 0.1, 0.06, 0.04], warnings={"BraTS-GLI-00001-000": ["clipped"]},
        trained_as_background={"label 4 of 2023": "(resection cavity)"},
    )  # fmt: skip
    settings = read_set_settings(write(first, second))
    assert settings["cases"] == ["l", "m", "n", "o", "BraTS-GLI-00001-000"]
    assert settings["split"] == {
        "train": ["m", "n", "o", "BraTS-GLI-00001-000"],
        "validation": ["l"],
    }
    assert settings["label_schemes"] == {"2017": LABELS_2017, "2023": LABELS_2023}
    assert settings["trained_as_background"] == {"label 4 of 2023": "(resection cavity)"}
    assert settings["warnings"] == {"m": ["odd"], "BraTS-GLI-00001-000": ["clipped"]}
    # Four cases with 0.9 and one with 0.8, and so on.
    assert settings["class_shares"] == pytest.approx([0.88, 0.06, 0.036, 0.024])
    assert (settings["dtype"], settings["patches_per_case"]) == ("float32", 438)
    assert settings["files"] == [json.loads(json.dumps(each)) for each in (first, second)]
    assert {name: settings[name] for name in AGREEMENT} == AGREEMENT
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float16"}, "b.h5 has dtype float16, and .*a.h5 has float32; expected the same"),
        ({"patches_per_case": 100}, "b.h5 has patches_per_case 100, and .*a.h5 has 438"),
        ({"centers": "balanced"}, "b.h5 has centers balanced, and .*a.h5 has published"),
        (
            {"label_schemes": {"2017": [0, 1, 2, 3]}},
            r"b.h5 has label_schemes of 2017 \[0, 1, 2, 3\], and .*a.h5 has \[0, 1, 2, 4\]",
        ),
        ({"patch_size": 64}, "b.h5 has patch_size 64; expected 128"),
        ({"split": {"train": ["m"]}}, "b.h5 does not say its split, by which"),
        ({"split": {"train": [1], "validation": []}}, "b.h5 does not say its split"),
        ({"cases": []}, "b.h5 does not say its cases"),
        ({"class_shares": [1.0]}, "b.h5 does not say its class_shares"),
        ({"warnings": None, "dtype": None}, "b.h5 does not say its dtype, warnings"),
    ],
)
def test_what_does_not_agree_is_told_with_both_files_and_values(write, change, message):
    paths = write(of_cases(["l"]), of_cases(["m"], **change))
    with pytest.raises(InputError, match=message):
        read_set_settings(paths)


def test_a_set_says_that_the_centers_of_its_files_are_balanced(write):
    first, second = (of_cases([name], centers="balanced") for name in "lm")
    assert read_set_settings(write(first, second))["centers"] == "balanced"


def test_the_first_file_is_checked_as_the_others_are(write):
    paths = write(of_cases(["l"], split={}), of_cases(["m"]))
    with pytest.raises(InputError, match="a.h5 does not say its split"):
        read_set_settings(paths)


def test_one_file_under_two_names_is_refused(write, tmp_path):
    (path,) = write(of_cases(["l"]))
    (tmp_path / "link.h5").symlink_to(path)
    for other in (path, str(tmp_path / "." / "a.h5"), str(tmp_path / "link.h5")):
        with pytest.raises(InputError, match="names one file twice, .*a.h5 and .*Give each once"):
            read_set_settings([path, other])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (of_cases(["l", "m"]), of_cases(["m", "n"]), "1 in all: m is in train of the one and in t"),
        (of_cases(["l"], ["m"]), of_cases(["n"], ["m"]), "1 in all: m is in val.* and in validat"),
        # The one that is on both sides is named, though another comes first.
        (of_cases(["l", "m"]), of_cases(["l"], ["m"]), "2 in all: m is in validation .* in train"),
        (of_cases(["l"], ["m"]), of_cases(["m"]), "1 in all: m is in train .* in validation of"),
    ],
)
def test_a_case_in_two_files_is_refused_on_whichever_sides(write, first, second, message):
    with pytest.raises(InputError, match=f"c.h5 and .*a.h5 have cases in common, {message}"):
        read_set_settings(write(first, of_cases(["z"]), second))


def test_a_patient_trained_on_in_one_file_and_validated_on_in_another_is_refused(write):
    first, again = "BraTS-GLI-00001-000", "BraTS-GLI-00001-001"
    paths = write(of_cases([first], edition="2023"), of_cases(["x"], [again], edition="2023"))
    message = f"a.h5 has {first} to train on, and .*b.h5 has {again} of the same patient"
    with pytest.raises(InputError, match=message):
        read_set_settings(paths)
    both = write(of_cases([first], edition="2023"), of_cases([again], edition="2023"))
    assert read_set_settings(both)["split"]["train"] == [first, again]
    # In a naming without visits, these are two patients.
    others = write(of_cases([first]), of_cases(["x"], [again]))
    assert len(read_set_settings(others)["cases"]) == 3


def test_files_of_other_folds_are_one_set_only_if_no_case_is_in_both(write):
    first = of_cases(["l", "m"], ["k"], num_folds=3, fold=0)
    other_fold = of_cases(["k", "m"], ["l"], num_folds=3, fold=1)
    message = "cases in common, 3 in all: k is in train of the one and in validation of the other"
    with pytest.raises(InputError, match=message):
        read_set_settings(write(first, other_fold))
    elsewhere = of_cases(["y"], ["x"], num_folds=2, fold=1)
    settings = read_set_settings(write(first, elsewhere))
    assert settings["split"] == {"train": ["l", "m", "y"], "validation": ["k", "x"]}
    assert [(each["num_folds"], each["fold"]) for each in settings["files"]] == [(3, 0), (2, 1)]
    assert "fold" not in settings


def test_other_patches_are_described(write):
    a, b, c = write(of_cases(["a"]), of_cases(["b"], seed=5), of_cases(["c"]))
    one, two, turned, other = map(read_set_settings, ([a], [a, b], [b, a], [a, c]))
    assert describe_other_patches(two, two, [a, b]) is None
    described = [
        describe_other_patches(one, read_set_settings([b]), [a]),
        describe_other_patches(one, two, "a.h5"),
        describe_other_patches(two, one, [a, b]),
        describe_other_patches(two, turned, ["a.h5", "b.h5"]),
        describe_other_patches(two, other, ["a.h5", "b.h5"]),
        describe_other_patches(two | {"files": 3}, {"seed": 1}, None),
    ]
    assert described == [
        "the patch file is another than it was trained on",
        "the files of --patches are 2, were 1: a.h5",
        f"the files of --patches are 1, were 2: {[a, b]}",
        "--patches has the files in another order, was ['a.h5', 'b.h5']",
        "--patches has other files (number 2 of 2), was ['a.h5', 'b.h5']",
        "the patch file is another than it was trained on",
    ]
