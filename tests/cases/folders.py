"""Empty files under the names of cases. Whoever reads one fails."""

OLD = ("_flair", "_t1", "_t1ce", "_t2", "_seg")  # The suffixes of 2017 to 2022.
NEW = ("-t2f", "-t1n", "-t1c", "-t2w", "-seg")


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def touch_case(folder, suffixes=OLD, extension=".nii.gz"):
    folder.mkdir(parents=True, exist_ok=True)
    touch(*(folder / f"{folder.name}{suffix}{extension}" for suffix in suffixes))


def touch_msd(root, training=("BRATS_001", "BRATS_002"), test=("BRATS_485",)):
    touch(*(root / "imagesTr" / f"{name}.nii.gz" for name in training))
    touch(*(root / "labelsTr" / f"{name}.nii.gz" for name in training))
    touch(*(root / "imagesTs" / f"{name}.nii.gz" for name in test))
    # The archive was made on macOS.
    touch(root / "imagesTr" / "._BRATS_001.nii.gz", root / "._labelsTr", root / "dataset.json")


def ids(cases):
    return [case.id for case in cases]
