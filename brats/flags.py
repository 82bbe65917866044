"""Settings: dataclasses whose fields carry their help and their check, and flags made from them.

In: command line arguments, or a dict read from JSON. Out: a checked settings object. A field
`base_filters` is the flag `--base-filters`.
"""

import argparse
import re
import types
import typing
from dataclasses import asdict, field, fields

ANY = ("any value", lambda value: True)
# ITK ends the process on text that is not UTF-8.
PATH = ("a path of printable characters", lambda value: value and value.isprintable())
PATHS = ("paths of printable characters", lambda value: all(map(PATH[1], value)))
COUNT = ("a whole number of at least 1", lambda value: value >= 1)
POSITIVE = ("a number above 0", lambda value: 0 < value < float("inf"))
FRACTION = ("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
NOT_NEGATIVE = ("a whole number of at least 0", lambda value: value >= 0)
INDICES = ("whole numbers of at least 0", lambda value: all(item >= 0 for item in value))
ADDRESS = (
    "host:port with a port of 1 to 65535",
    lambda value: re.fullmatch(r"\S+:\d{1,5}", value) and 0 < int(value.split(":")[-1]) < 2**16,
)
SEED = ("a whole number of at least 0 and below 2**32", lambda value: 0 <= value < 2**32)
SCHEDULER = (
    "local, tcp://HOST:PORT, or the .json file of a scheduler",
    lambda value: re.fullmatch(r"local|(tcp|tls)://\S+:\d+|.+\.json", value) and PATH[1](value),
)


def one_of(*names):
    """Returns the check that a setting is one of some names."""
    return f"one of {', '.join(names)}", lambda value: value in names


def setting(default, help_text, check=ANY):
    """Declares a field: its default, its help, and a check as `(expectation, predicate)`."""
    return field(default=default, metadata={"help": help_text, "check": check})


class Settings:
    """Checks every field of a settings dataclass on construction.

    Attributes:
        RECIPES: Dict from a value of the field `recipe` to the settings, a dict, that it puts in
            place of the defaults on the command line; a flag beside it still counts.

    Raises:
        ValueError: If a value has the wrong type or is out of range; names the flag.
    """

    RECIPES: typing.ClassVar[dict] = {}

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            expectation, is_valid = item.metadata["check"]
            if not _has_type(value, item.type):
                raise ValueError(
                    f"{flag(item.name)} is {value!r}; expected {_describe(item.type)}."
                )
            if value is not None and not is_valid(value):
                raise ValueError(f"{flag(item.name)} is {value!r}; expected {expectation}.")


def parse(config_class, argv=None, description=None):
    """Reads a settings object off the command line.

    Args:
        config_class: A settings dataclass.
        argv: List of arguments, or None for those of the process.
        description: First lines of `--help`.

    Returns:
        An instance of `config_class`.

    Raises:
        SystemExit: With code 2 and a message that names the flag, if an argument is wrong; with
            code 0 after `--help`.
    """
    recipes = config_class.RECIPES
    parser = argparse.ArgumentParser(
        description=description,
        epilog=_describe_recipes(recipes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for item in fields(config_class):
        is_in_recipes = any(item.name in recipe for recipe in recipes.values())
        parser.add_argument(flag(item.name), **_argument(item, is_in_recipes))
    values = vars(parser.parse_args(argv))
    try:
        if recipe := recipes.get(values.get("recipe")):
            parser.set_defaults(**recipe)
            values = vars(parser.parse_args(argv))
        return from_dict(config_class, values)
    except ValueError as error:
        parser.error(str(error))


def to_dict(config):
    """Returns the settings as a dict that JSON can hold."""
    return asdict(config)


def from_dict(config_class, values):
    """Builds a settings object from a dict, such as one read from JSON.

    Raises:
        ValueError: If a setting is missing, unknown or wrong; names the flag.
    """
    names = {item.name for item in fields(config_class)}
    if names != set(values):
        raise ValueError(
            f"The settings have {flags(set(values) - names)} too many and lack "
            f"{flags(names - set(values))}; they were written by another version."
        )
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return config_class(**values)


def flag(name):
    """Returns the flag of a field: `base_filters` to `--base-filters`."""
    return "--" + name.replace("_", "-")


def as_typed(name, value):
    """Returns a setting as it is typed: `--depth 3`, or `--flips`, for True."""
    return flag(name) if value is True else f"{flag(name)} {value}"


def flags(names):
    """Returns the flags of fields, in one line."""
    return ", ".join(sorted(map(flag, names))) or "none"


def _describe_recipes(recipes):
    """Returns one line per recipe: the flags that it stands for, as they are typed."""
    return "\n".join(
        f"--recipe {name} stands for: {' '.join(as_typed(*item) for item in recipe.items())}"
        for name, recipe in recipes.items()
    )


def _argument(item, is_in_recipes):
    """Returns the keyword arguments of `add_argument` for a field; what a recipe sets has a no."""
    if item.type is bool:
        action = argparse.BooleanOptionalAction if is_in_recipes else "store_true"
        return {"action": action, "default": item.default, "help": item.metadata["help"]}
    notes = [] if item.metadata["check"] is ANY else [item.metadata["check"][0]]
    if item.default not in (None, ()):
        shown = item.default if isinstance(item.default, tuple) else (item.default,)
        notes.append(f"default: {' '.join(map(str, shown))}")
    notes = f" ({'; '.join(notes)})" if notes else ""
    arguments = {
        "default": item.default,
        "help": item.metadata["help"] + notes,
        "type": _scalar_type(item.type),
    }
    if typing.get_origin(item.type) is tuple:
        arguments["nargs"] = "+"
    return arguments


def _scalar_type(annotation):
    """Returns the type of one value: `int | None` and `tuple[int, ...]` both give int."""
    if isinstance(annotation, types.UnionType | types.GenericAlias):
        return typing.get_args(annotation)[0]
    return annotation


def _has_type(value, annotation):
    if value is None:
        return type(None) in typing.get_args(annotation)
    scalar = _scalar_type(annotation)
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is_scalar(item, scalar) for item in value)
    return _is_scalar(value, scalar)


def _is_scalar(value, scalar):
    accepted = (int, float) if scalar is float else scalar
    return isinstance(value, accepted) and (scalar is bool or not isinstance(value, bool))


def _describe(annotation):
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names[_scalar_type(annotation)]
