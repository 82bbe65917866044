"""Defaults, flags, recipes, and refused settings."""

import json
import re
from dataclasses import FrozenInstanceError, fields

import pytest

from brats.flags import flag, parse
from brats.patches.centers import CENTERS
from config import ExtractConfig, PredictConfig, TrainConfig
from engine.training.schedules import OPTIMIZERS, SCHEDULES
from losses import LOSSES

CONFIGS = (ExtractConfig, TrainConfig, PredictConfig)
every_script = pytest.mark.parametrize("config_class", CONFIGS)


def refusal(config_class, arguments, capsys):
    """Returns the last line that a refused command prints; the exit code is 2."""
    with pytest.raises(SystemExit) as stopped:
        parse(config_class, arguments.split())
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]


def help_of(config_class, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        parse(config_class, ["--help"], "What the script does.")
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_the_defaults_are_the_published_recipe():
    # Reference: Kermi 2018 and its code. 3 patches for each of the 146 slices of a case.
    expected = [
        (ExtractConfig(), {"patches_per_case": 146 * 3, "centers": "published"}),
        (TrainConfig(), {"base_filters": 64, "depth": 3, "epochs": 3, "batch_size": 4}),
        (TrainConfig(), {"optimizer": "sgd", "learning_rate": 0.08, "momentum": 0.9}),
        (TrainConfig(), {"schedule": "published", "loss": "published", "weights": None}),
        (TrainConfig(), {"class_weights": (1, 5, 2, 4), "steps_per_epoch": None}),
        (TrainConfig(), {"mixed_precision": False, "validation_fraction": 0.2}),
        (PredictConfig(), {"batch_size": 2, "flips": False, "fill_holes": False}),
        (PredictConfig(), {"min_lesion_ml": 0, "min_enhancing_ml": 0}),
    ]
    for config, values in expected:
        assert config.to_dict().items() >= values.items()


def test_scripts_follow_one_another_without_arguments():
    assert (ExtractConfig().output,) == TrainConfig().patches == ("data/patches",)
    assert (TrainConfig().run_dir,) == PredictConfig().run_dir == ("runs/default",)


@pytest.mark.parametrize(
    ("config_class", "arguments", "message"),
    [
        (ExtractConfig, "--labels necrosis=1 edema=2", "enhancing=, each once, .* number twice"),
        (PredictConfig, "--labels 1 2 3", "--labels is .*; expected necrosis="),
        (PredictConfig, "--flair a --t1 b --t2 c", "need --t1ce; give all four"),
        (PredictConfig, "{} --data-root x --cases a", "leave out --cases, --data-root"),
        (PredictConfig, "{} --score-only", "leave out --score-only"),
        (PredictConfig, "--output a.nii.gz", "expected a folder or, with --flair"),
        *(
            (PredictConfig, f"{{}} --output {name}", "with --flair, NAME.nii.gz.")
            for name in ("a.nii", "x.mha", "x.NII.GZ", "x/.nii.gz", ".nii.gz")
        ),
    ],
)
def test_labels_and_four_files_are_checked(config_class, arguments, message, capsys):
    files = "--flair a --t1 b --t1ce c --t2 d"
    assert re.search(message, refusal(config_class, arguments.format(files), capsys))
    parse(
        PredictConfig,
        f"{files} --output a.nii.gz --labels necrosis=1,3 edema=2 enhancing=4".split(),
    )


def test_the_choices_are_what_can_be_built():
    checks = {item.name: item.metadata["check"] for each in CONFIGS for item in fields(each)}
    tables = {"loss": LOSSES, "schedule": SCHEDULES, "optimizer": OPTIMIZERS, "centers": CENTERS}
    for name, table in tables.items():
        assert checks[name][0] == f"one of {', '.join(table)}"


def test_help_has_groups_and_choices_and_leaves_out_what_is_obvious(capsys, monkeypatch):
    text = help_of(PredictConfig, capsys, monkeypatch)
    titles = [line[:-1] for line in text.splitlines() if re.fullmatch(r"\w+:", line)]
    assert titles == ["options", "data", "networks", "prediction", "output", "machines"]
    assert "--checkpoint {best,last}" in text and "printable" not in text


def test_the_version_is_printed_with_the_commit(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse(TrainConfig, ["--version"])
    assert re.search(r"\d+\.\d+\.\d+ \(commit \S+\)\n", capsys.readouterr().out)


def test_only_what_differs_from_the_defaults_is_printed_and_how_much_is_no_setting():
    config = TrainConfig(epochs=7)
    assert config.shown() == {"epochs": 7}
    verbose = TrainConfig(epochs=7, verbose=True)
    assert verbose.shown() == verbose.to_dict() == config.to_dict()


@every_script
def test_help_explains_every_flag_with_its_default(config_class, capsys, monkeypatch):
    text = " ".join(help_of(config_class, capsys, monkeypatch).split())
    assert "What the script does." in text
    for item in fields(config_class):
        value = r"(, --no-\S+)?" if item.type is bool else r" ([A-Z\d_]+( \[.*? \.\.\.\])?|\{\S+\})"
        explanation = re.escape(item.metadata["help"])
        if item.default not in (None, ()) and item.type is not bool:
            typed = item.default if isinstance(item.default, tuple) else [item.default]
            explanation += r" \([^()]*" + re.escape(f"default: {' '.join(map(str, typed))})")
        assert len(item.metadata["help"]) >= 10
        assert re.search(f"{flag(item.name)}{value} {explanation}", text)


@pytest.mark.parametrize(
    ("config_class", "arguments", "name", "value"),
    [
        (TrainConfig, "--epochs 7", "epochs", 7),
        (TrainConfig, "--learning-rate 1", "learning_rate", 1.0),
        (TrainConfig, "--resume", "resume", True),
        (TrainConfig, "--class-weights 1 2.5 3 4", "class_weights", (1.0, 2.5, 3.0, 4.0)),
        (PredictConfig, "--slices 60 0", "slices", (60, 0)),
    ],
)
def test_a_flag_sets_its_field_and_no_other(config_class, arguments, name, value):
    config = parse(config_class, arguments.split())
    assert repr(getattr(config, name)) == repr(value)  # 1 and 1.0 are equal, but not the same.
    assert config.to_dict() == config_class().to_dict() | {name: value}
    assert parse(config_class, []) == config_class()


@pytest.mark.parametrize(
    ("config_class", "arguments", "name", "value"),
    [
        (ExtractConfig, "--recipe tuned", "centers", "balanced"),
        (TrainConfig, "--recipe tuned", "learning_rate", 0.008),
        (TrainConfig, "--recipe tuned --learning-rate 0.08", "learning_rate", 0.08),
        (TrainConfig, "--schedule constant --recipe tuned", "schedule", "constant"),
        (PredictConfig, "--recipe tuned --no-flips", "flips", False),
    ],
)
def test_a_recipe_replaces_defaults_and_a_flag_counts_more(config_class, arguments, name, value):
    config = parse(config_class, arguments.split())
    changed = config_class.RECIPES["tuned"] | {"recipe": "tuned", name: value}
    assert config.to_dict() == config_class().to_dict() | changed


def test_help_says_what_a_recipe_stands_for(capsys, monkeypatch):
    last_line = help_of(PredictConfig, capsys, monkeypatch).splitlines()[-1]
    title, typed = last_line.split(": ")
    assert title == "--recipe tuned stands for"
    tuned = parse(PredictConfig, ["--recipe", "tuned"])
    assert parse(PredictConfig, typed.split()).to_dict() == tuned.to_dict() | {
        "recipe": "published"
    }


@pytest.mark.parametrize(
    ("config_class", "arguments", "expectation"),
    [
        (ExtractConfig, "--patches-per-case=0", "a whole number of at least 1"),
        (ExtractConfig, "--seed=4294967296", "a whole number of at least 0 and below 2"),
        (ExtractConfig, "--scheduler=127.0.0.1:8786", "local, tcp://HOST:PORT, or the .json file"),
        (TrainConfig, "--patches=\x1b", "paths of printable characters"),
        (TrainConfig, "--validation-fraction=1.0", "a number of at least 0 and below 1"),
        (TrainConfig, "--num-folds=1", "a whole number of at least 2"),
        (TrainConfig, "--learning-rate=nan", "a number above 0"),
        (TrainConfig, "--schedule=linear", "one of published, constant, cosine"),
        (TrainConfig, "--class-weights 1 2 3", "four numbers above 0"),
        (TrainConfig, "--coordinator=node1:0", "host:port with a port of 1 to 65535"),
        (PredictConfig, "--slices 60 -1", "whole numbers of at least 0"),
    ],
)
def test_a_wrong_value_is_refused_with_flag_value_and_expectation(
    config_class, arguments, expectation, capsys
):
    name, value = re.split("[= ]", arguments, maxsplit=1)
    message = refusal(config_class, arguments, capsys)
    assert message.startswith(f"{name} is ") and f"; expected {expectation}" in message
    shown = message.removeprefix(f"{name} is ").partition(";")[0]
    assert value.split()[-1].strip("\x1b") in shown


@pytest.mark.parametrize(
    ("config_class", "arguments", "message"),
    [
        (ExtractConfig, "--check --scheduler local", "leave out --scheduler"),
        (ExtractConfig, "--scheduler tcp://a:1 --workers 2", "--workers is for this machine"),
        (TrainConfig, "--resume --weights a", "leave out --weights"),
        (TrainConfig, "--resume --overwrite", "leave out --overwrite"),
        (TrainConfig, "--num-folds 4", "--num-folds and --fold go together"),
        (TrainConfig, "--num-folds 4 --fold 4", "--fold is 4; expected at least 0 and less than"),
        (TrainConfig, "--num-folds 4 --fold 0 --validation-fraction 0.3", "or --num-folds, not"),
        (PredictConfig, "--score-only --flips", "leave out --flips."),
        (PredictConfig, "--ignore-missing", "--score-only, or leave out --ignore-missing."),
        (PredictConfig, "--score-only --recipe tuned", "leave out --recipe."),
        (PredictConfig, "--score-only --weights a --overwrite", "out --overwrite, --weights."),
        (PredictConfig, "--weights a --cross-validate", "leave out --cross-validate."),
        (PredictConfig, "--workers 2", "--workers is for --scheduler local"),
        (TrainConfig, "--epochs many", "argument --epochs: invalid int value: 'many'"),
        (TrainConfig, "--epoch-count 3", "unrecognized arguments: --epoch-count 3"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused(config_class, arguments, message, capsys):
    assert message in refusal(config_class, arguments, capsys)


def test_a_wrong_type_is_refused_in_code_too():
    with pytest.raises(ValueError, match="--epochs is True; expected a whole number."):
        TrainConfig(epochs=True)  # In Python, True is an int.
    with pytest.raises(ValueError, match="--resume is 'yes'; expected true or false."):
        TrainConfig(resume="yes")


def test_settings_survive_json_and_cannot_be_changed():
    config = TrainConfig(class_weights=(1.0, 2.0, 3.0, 4.5), steps_per_epoch=9, learning_rate=1)
    values = json.loads(json.dumps(config.to_dict()))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    assert TrainConfig(**values) == config
    with pytest.raises(FrozenInstanceError):
        config.epochs = 5
