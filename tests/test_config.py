"""The defaults, the flags made from the fields, their checks, and settings as JSON."""

import json
import re
from dataclasses import FrozenInstanceError, fields

import pytest

from brats.flags import flag, from_dict, parse, to_dict
from brats.patches.centers import CENTERS
from config import ExtractConfig, PredictConfig, TrainConfig

CONFIGS = (ExtractConfig, TrainConfig, PredictConfig)


def test_defaults_of_the_extraction_are_the_published_recipe():
    config = ExtractConfig()
    assert config.patches_per_case == 146 * 3
    assert config.dtype == "float32"
    assert config.validation_fraction == 0.2  # Ours: the original's split is missing.


def test_defaults_of_the_training_are_the_published_recipe():
    config = TrainConfig()
    assert (config.base_filters, config.depth) == (64, 3)
    assert (config.epochs, config.batch_size, config.steps_per_epoch) == (3, 4, None)
    assert (config.learning_rate, config.momentum) == (0.08, 0.9)
    assert (config.schedule, config.loss, config.class_weights) == (
        "published",
        "published",
        (1, 5, 2, 4),
    )
    assert config.weights is None and not config.mixed_precision and not config.resume


def test_defaults_of_the_prediction_are_the_published_recipe():
    assert PredictConfig().batch_size == 2


def test_the_centers_that_can_be_chosen_are_those_that_there_are():
    for value in CENTERS:
        assert ExtractConfig(centers=value).centers == value
    assert ExtractConfig().centers == CENTERS[0]
    with pytest.raises(ValueError, match=f"expected one of {', '.join(CENTERS)}"):
        ExtractConfig(centers="other")


def test_scripts_follow_one_another_without_arguments():
    assert (ExtractConfig().output,) == TrainConfig().patches == ("data/patches.h5",)
    assert TrainConfig().run_dir == "runs/default"
    assert PredictConfig().run_dir == ("runs/default",)
    assert ExtractConfig().data_root == PredictConfig().data_root == "data/brats"


@pytest.mark.parametrize("config_class", CONFIGS)
def test_no_argument_gives_the_defaults(config_class):
    assert parse(config_class, []) == config_class()


@pytest.mark.parametrize("script", CONFIGS, ids=["extract_patches", "train", "predict"])
def test_flags_that_other_tools_rely_on_exist(script):
    promised = {
        ExtractConfig: "data-root output patches-per-case validation-fraction dtype workers seed "
        "overwrite",
        TrainConfig: "patches run-dir epochs batch-size steps-per-epoch base-filters depth "
        "learning-rate schedule loss weights resume seed mixed-precision",
        PredictConfig: "run-dir weights data-root output cases batch-size overwrite",
    }
    assert {f"--{name}" for name in promised[script].split()} <= {
        flag(item.name) for item in fields(script)
    }


@pytest.mark.parametrize("config_class", CONFIGS)
def test_help_explains_every_flag_with_its_default(config_class, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # So that no explanation is broken at a hyphen.
    with pytest.raises(SystemExit) as stopped:
        parse(config_class, ["--help"], "What the script does.")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "What the script does." in text
    for item in fields(config_class):
        value = (
            "(, --no-\\S+)?" if item.type is bool else rf" {item.name.upper()}( \[.*? \.\.\.\])?"
        )
        explanation = re.escape(item.metadata["help"])
        if isinstance(item.default, str | int | float) and item.type is not bool:
            explanation += r" \([^()]*" + re.escape(f"default: {item.default})")
        assert re.search(f"{flag(item.name)}{value} {explanation}", text)


@pytest.mark.parametrize(
    ("config_class", "choices"),
    [
        (ExtractConfig, ("float32", "float16")),
        (TrainConfig, ("constant", "cosine", "present-classes")),
    ],
)
def test_help_names_what_can_be_chosen(config_class, choices, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse(config_class, ["--help"])
    text = capsys.readouterr().out
    assert [choice for choice in choices if choice not in text] == []


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_recipe_takes_the_place_of_the_defaults_and_of_nothing_else(config_class):
    recipe = config_class.RECIPES["tuned"]
    config = parse(config_class, ["--recipe", "tuned"])
    assert to_dict(config) == to_dict(config_class()) | recipe | {"recipe": "tuned"}
    # No setting of a recipe is what it is without it.
    assert [name for name, value in recipe.items() if getattr(config_class(), name) == value] == []


@pytest.mark.parametrize(
    ("config_class", "arguments", "name", "value"),
    [
        (ExtractConfig, ["--centers", "published"], "centers", "published"),
        (TrainConfig, ["--schedule", "constant"], "schedule", "constant"),
        (PredictConfig, ["--no-flips"], "flips", False),
        (PredictConfig, ["--min-enhancing-voxels", "0"], "min_enhancing_voxels", 0),
    ],
)
@pytest.mark.parametrize("recipe_first", [True, False])
def test_a_flag_counts_more_than_a_recipe(config_class, arguments, name, value, recipe_first):
    parts = [["--recipe", "tuned"], arguments]
    config = parse(config_class, sum(parts if recipe_first else parts[::-1], []))
    changed = config_class.RECIPES["tuned"] | {"recipe": "tuned", name: value}
    assert to_dict(config) == to_dict(config_class()) | changed


def test_help_says_what_a_recipe_stands_for_as_it_is_typed(capsys):
    with pytest.raises(SystemExit):
        parse(PredictConfig, ["--help"])
    last_line = capsys.readouterr().out.splitlines()[-1]
    title, arguments = last_line.split(": ")
    assert title == "--recipe tuned stands for"
    assert parse(PredictConfig, ["--recipe", "tuned"]) == parse(
        PredictConfig, ["--recipe", "tuned", *arguments.split()]
    )
    typed = to_dict(parse(PredictConfig, arguments.split()))
    assert typed == to_dict(parse(PredictConfig, ["--recipe", "tuned"])) | {"recipe": "published"}


def test_help_shows_defaults_as_they_are_typed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse(TrainConfig, ["--help"])
    text = capsys.readouterr().out
    assert (
        "cross entropy weight of each class (four numbers above 0; default: 1.0 5.0 2.0 4.0)"
        in text
    )
    assert "learning rate at compile time (a number above 0; default: 0.08)" in text


@pytest.mark.parametrize(
    ("config_class", "arguments", "name", "value"),
    [
        (TrainConfig, ["--epochs", "7"], "epochs", 7),
        (TrainConfig, ["--learning-rate", "1e-3"], "learning_rate", 0.001),
        (TrainConfig, ["--learning-rate", "1"], "learning_rate", 1.0),
        (TrainConfig, ["--resume"], "resume", True),
        (TrainConfig, ["--steps-per-epoch", "5"], "steps_per_epoch", 5),
        (TrainConfig, ["--weights", "a.keras"], "weights", "a.keras"),
        (TrainConfig, ["--class-weights", "1", "2.5", "3", "4"], "class_weights", (1, 2.5, 3, 4)),
        (PredictConfig, ["--cases", "b", "a"], "cases", ("b", "a")),
        (ExtractConfig, ["--dtype", "float16"], "dtype", "float16"),
    ],
)
def test_argument_sets_its_field_and_no_other(config_class, arguments, name, value):
    config = parse(config_class, arguments)
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)
    assert to_dict(config) == to_dict(config_class()) | {name: value}


WRONG = [
    (ExtractConfig, "patches_per_case", 0, "a whole number of at least 1"),
    (ExtractConfig, "patches_per_case", 2.5, "a whole number"),
    (ExtractConfig, "validation_fraction", 1.0, "at least 0 and below 1"),
    (ExtractConfig, "validation_fraction", -0.1, "at least 0 and below 1"),
    (ExtractConfig, "validation_fraction", float("nan"), "at least 0 and below 1"),
    (ExtractConfig, "dtype", "int8", "one of float32, float16"),
    (ExtractConfig, "workers", 0, "a whole number of at least 1"),
    (ExtractConfig, "num_folds", 1, "a whole number of at least 2"),
    (ExtractConfig, "fold", -1, "a whole number of at least 0"),
    (ExtractConfig, "seed", -1, "a whole number of at least 0"),
    (TrainConfig, "learning_rate", 0.0, "a number above 0"),
    (TrainConfig, "learning_rate", float("inf"), "a number above 0"),
    (TrainConfig, "momentum", 1.0, "below 1"),
    (TrainConfig, "schedule", "linear", "one of published, constant, cosine"),
    (TrainConfig, "loss", "dice", "one of published, present-classes"),
    (TrainConfig, "depth", 0, "a whole number of at least 1"),
]


@pytest.mark.parametrize(("config_class", "name", "value", "expected"), WRONG)
def test_wrong_value_is_told_with_flag_value_and_expectation(config_class, name, value, expected):
    with pytest.raises(ValueError, match=f"{flag(name)} is {value!r}; expected .*{expected}"):
        config_class(**{name: value})


@pytest.mark.parametrize(("config_class", "name", "value", "expected"), WRONG)
def test_wrong_argument_ends_with_exit_code_2(config_class, name, value, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(config_class, [f"{flag(name)}={value}"])
    assert stopped.value.code == 2
    assert flag(name) in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", True, "a whole number"),  # In Python, True is an int.
        ("epochs", 3.0, "a whole number"),
        ("epochs", "3", "a whole number"),
        ("epochs", None, "a whole number"),
        ("learning_rate", False, "a number"),
        ("resume", 1, "true or false"),
        ("resume", "yes", "true or false"),
        ("weights", 5, "text"),
        ("patches", None, "text"),
        ("class_weights", 1.0, "a number"),
        ("class_weights", (1.0, "2"), "a number"),
        ("class_weights", (1.0, 2.0, 3.0, 0.0), "four numbers above 0"),
        ("class_weights", (1.0, 2.0, 3.0), "four numbers above 0"),
        ("seed", 2**32, "a whole number of at least 0 and below"),
    ],
)
def test_wrong_type_is_told_with_flag_and_expectation(name, value, expected):
    with pytest.raises(ValueError, match=f"{flag(name)} is .*; expected {expected}"):
        TrainConfig(**{name: value})


def test_optional_fields_take_none_and_numbers_take_whole_numbers():
    config = TrainConfig(steps_per_epoch=None, weights=None, learning_rate=1, momentum=0)
    assert (config.steps_per_epoch, config.learning_rate) == (None, 1)


@pytest.mark.parametrize("arguments", [["--epoch-count", "3"], ["--cases"], ["--batch-size"]])
def test_unknown_flag_or_missing_value_ends_with_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(PredictConfig, arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_slice_before_the_first_is_refused(capsys):
    assert parse(PredictConfig, ["--slices", "60", "0"]).slices == (60, 0)
    with pytest.raises(SystemExit):
        parse(PredictConfig, ["--slices", "60", "-1"])
    message = "--slices is (60, -1); expected whole numbers of at least 0."
    assert message in capsys.readouterr().err


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        TrainConfig().epochs = 5


@pytest.mark.parametrize(
    "config",
    [
        ExtractConfig(workers=2, validation_fraction=0.25, overwrite=True),
        TrainConfig(class_weights=(1.0, 2.0, 3.0, 4.5), steps_per_epoch=9, weights="w.hdf5"),
        PredictConfig(cases=("b", "a"), slices=(60, 0)),
        PredictConfig(),
    ],
)
def test_settings_survive_json(config):
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_unknown_and_missing_settings_are_named():
    values = to_dict(TrainConfig())
    del values["batch_size"], values["momentum"]
    values["dropout"] = 0.5
    message = "--dropout too many and lack --batch-size, --momentum"
    with pytest.raises(ValueError, match=message):
        from_dict(TrainConfig, values)


def test_missing_setting_alone_is_refused_although_it_has_a_default():
    values = to_dict(TrainConfig())
    del values["seed"]
    with pytest.raises(ValueError, match="none too many and lack --seed"):
        from_dict(TrainConfig, values)


def test_unknown_setting_alone_is_refused():
    with pytest.raises(ValueError, match="--dropout too many and lack none"):
        from_dict(TrainConfig, to_dict(TrainConfig()) | {"dropout": 0.5})


@pytest.mark.parametrize("ignored", [{"weights": "w.keras"}, {"overwrite": True}])
def test_nothing_asked_for_is_ignored_on_resume(ignored):
    with pytest.raises(ValueError, match=f"--resume .* does not go with --{next(iter(ignored))}"):
        TrainConfig(resume=True, **ignored)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--score-only", "--flips"], "--score-only predicts nothing; it does not go with --flips"),
        (["--score-only", "--weights", "a"], "does not go with --weights"),
        (["--score-only", "--recipe", "tuned"], "does not go with --recipe."),
        (
            ["--score-only", "--recipe", "tuned", "--min-lesion-voxels", "3"],
            "does not go with --min-lesion-voxels, --recipe.",
        ),
        (["--score-only", "--cross-validate"], "does not go with --cross-validate"),
        (["--weights", "a", "--cross-validate"], "--cross-validate goes by the cases that runs"),
        (["--weights", "a.keras", "--run-dir", "b"], "--weights takes the place of --run-dir"),
        (["--min-lesion-voxels", "-1"], "expected a whole number of at least 0"),
    ],
)
def test_prediction_takes_no_flag_that_would_be_ignored(flags, message, capsys):
    with pytest.raises(SystemExit):
        parse(PredictConfig, flags)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num-folds", "4"], "--num-folds needs --fold"),
        (["--fold", "0"], "--fold is one of several; say of how many with --num-folds"),
        (["--num-folds", "4", "--fold", "4"], "--fold is 4; expected a whole number of .*below"),
        (
            ["--num-folds", "4", "--fold", "0", "--validation-fraction", "0.25"],
            "--validation-fraction does not go with --num-folds",
        ),
    ],
)
def test_a_fold_is_one_of_so_many(flags, message, capsys):
    with pytest.raises(SystemExit):
        parse(ExtractConfig, flags)
    assert re.search(message, capsys.readouterr().err)
    config = parse(ExtractConfig, ["--num-folds", "4", "--fold", "3"])
    assert (config.num_folds, config.fold) == (4, 3)


def test_several_runs_may_be_named():
    assert parse(PredictConfig, ["--run-dir", "a", "b"]).run_dir == ("a", "b")
