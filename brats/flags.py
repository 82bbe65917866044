"""Command line flags, made from the fields of a settings dataclass.

In: command line arguments. Out: a checked settings object. The field `base_filters` becomes the
flag `--base-filters`.
"""

import argparse
import re
import types
import typing
from dataclasses import asdict, field, fields

from brats.provenance import describe_version

ANY = ("any value", lambda value: True)
# ITK ends the process if a path is not UTF-8.
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
    """Returns a check that the value is one of some names, which `--help` lists."""
    return f"one of {', '.join(names)}", lambda value: value in names, names


def setting(default, help_text, check=ANY, group=None):
    """Declares a field.

    Args:
        default: Value without the flag.
        help_text: What the setting means, for `--help`.
        check: `(expectation, predicate)`, or what `one_of` returns.
        group: Title of the group that begins with this flag in `--help`; None: the flag belongs to
            the group of the field before it.
    """
    return field(default=default, metadata={"help": help_text, "check": check, "group": group})


VERBOSE = (False, "print all settings, the versions and the commit")


class Settings:
    """Base of a settings dataclass; checks every field on construction.

    Attributes:
        RECIPES: Dict from the name of a recipe to the defaults that it replaces, a dict. The flag
            `--recipe` chooses one; other flags still count.

    Raises:
        ValueError: If a value has the wrong type or is out of range. The message names the flag.
    """

    RECIPES: typing.ClassVar[dict] = {}

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            expectation, is_valid, *_ = item.metadata["check"]
            if not _has_type(value, item.type):
                expectation = _describe(item.type)
            elif value is None or is_valid(value):
                continue
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else repr(value)
            raise ValueError(f"{flag(item.name)} is {shown}; expected {expectation}.")

    def to_dict(self):
        """Returns the settings as a dict that can be written as JSON. What is printed is none."""
        return {name: value for name, value in asdict(self).items() if name != "verbose"}

    def shown(self):
        """Returns the settings to print: those that differ from the defaults, or all."""
        defaults = {item.name: item.default for item in fields(self)}
        settings = self.to_dict().items()
        return {k: value for k, value in settings if self.verbose or value != defaults[k]}


def parse(config_class, argv=None, description=None):
    """Makes a settings object from the command line.

    Args:
        config_class: A dataclass derived from `Settings`.
        argv: List of arguments, or None for those of the process.
        description: First lines of `--help`.

    Returns:
        An instance of `config_class`.

    Raises:
        SystemExit: With code 0 after `--help` and `--version`. With code 2 and a message that names
            the flag if an argument is wrong.
    """
    recipes = config_class.RECIPES
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        usage="%(prog)s [--flag value ...]; --help lists all flags",
        description=description,
        epilog="\n".join(
            f"--recipe {name} stands for: {' '.join(as_typed(*item) for item in recipe.items())}"
            for name, recipe in recipes.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    group = parser
    for item in fields(config_class):
        if item.metadata["group"]:
            group = parser.add_argument_group(item.metadata["group"])
        is_in_recipes = any(item.name in recipe for recipe in recipes.values())
        group.add_argument(flag(item.name), **_argument(item, is_in_recipes))
    values = vars(parser.parse_args(argv))
    if values["version"]:
        print(parser.prog, describe_version())
        parser.exit()
    try:
        if recipe := recipes.get(values.get("recipe")):
            parser.set_defaults(**recipe)
            values = vars(parser.parse_args(argv))
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        del values["version"]
        return config_class(**values)
    except ValueError as error:
        parser.error(str(error))


def flag(name):
    """Returns the flag of a field, such as `--base-filters` for `base_filters`."""
    return "--" + name.replace("_", "-")


def as_typed(name, value):
    """Returns a setting as a user types it: `--depth 3`, or `--flips` for True."""
    return flag(name) if value is True else f"{flag(name)} {value}"


def flags(names):
    """Returns the flags of some fields, sorted, as text."""
    return ", ".join(sorted(map(flag, names))) or "none"


def _argument(item, is_in_recipes):
    """Returns the arguments of `add_argument`. A flag that recipes set has a `--no-` form."""
    expectation, _, *choices = item.metadata["check"]
    is_clear = choices or item.metadata["check"] in (ANY, PATH, PATHS)
    notes = [] if is_clear else [expectation]
    if item.type is not bool and item.default not in (None, ()):
        shown = item.default if isinstance(item.default, tuple) else (item.default,)
        notes.append(f"default: {' '.join(map(str, shown))}")
    text = item.metadata["help"] + (f" ({'; '.join(notes)})" if notes else "")
    arguments = {"default": item.default, "help": text.replace("%", "%%")}
    if item.type is bool:
        action = argparse.BooleanOptionalAction if is_in_recipes else "store_true"
        return arguments | {"action": action}
    if typing.get_origin(item.type) is tuple:
        arguments["nargs"] = "+"
    if choices:
        arguments["metavar"] = f"{{{','.join(*choices)}}}"
    return arguments | {"type": _scalar_type(item.type)}


def _scalar_type(annotation):
    """Returns the type of one value, such as int for `int | None` and `tuple[int, ...]`."""
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
