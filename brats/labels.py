"""The flag `--labels`: the label values of each class.

In: texts such as "necrosis=2,3". Out: the values, or nothing if the texts are wrong. Needs no
NumPy, as flags are checked before anything is imported.
"""

import re

CLASSES = ("normal", "necrosis", "edema", "enhancing")
MAX_LABEL = 254
LABELS = (
    f"necrosis=, edema= and enhancing=, each once, with a whole number of 1 to {MAX_LABEL} or "
    "several with commas, and no number twice",
    lambda values: not values or parse_labels(values) is not None,
)


def parse_labels(values):
    """Returns a dict from class to its label values, or None if the texts are wrong.

    Args:
        values: Texts such as "necrosis=2,3", one for each tumor class. The first value is the one
            that predictions have. "normal=4" adds values that are trained as background.
    """
    parts = [re.fullmatch(r"(\w+)=(\d{1,3}(?:,\d{1,3})*)", value) for value in values]
    if not all(parts):
        return None
    parsed = {part[1]: tuple(map(int, part[2].split(","))) for part in parts}
    numbers = [number for some in parsed.values() for number in some]
    has_names = set(CLASSES[1:]) <= set(parsed) <= set(CLASSES) and len(parsed) == len(parts)
    is_clear = len(set(numbers)) == len(numbers)
    return (
        parsed if has_names and is_clear and 0 < min(numbers) <= max(numbers) <= MAX_LABEL else None
    )
