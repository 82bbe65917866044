"""Whether volumes lie on one grid, and if not, in what they differ.

In: shapes `(Z, Y, X)` and `brats.volumes.geometry.Geometry` objects. Out: sentences, or None.
"""


def grid_error(case_id, name, grid, first_name, first):
    """Returns what is wrong if two files of a case lie on two grids, a sentence, or None.

    Args:
        case_id: Id of the case.
        name: Name of a file.
        grid: Its shape `(Z, Y, X)` and `Geometry`.
        first_name: Name of the file that it is compared with.
        first: Grid of that file.
    """
    difference = grid_difference(grid, first)
    if not difference:
        return None
    return (
        f"The files of case {case_id} do not lie on one grid: {name} has {difference[0]}, "
        f"{first_name} has {difference[1]}. Resample them to one grid."
    )


def grid_difference(grid, other):
    """Returns in what two grids differ, as text of either, or None if they are the same.

    Args:
        grid: Shape `(Z, Y, X)` and `Geometry`.
        other: The same of another volume. Numbers in the text are in the order (x, y, z).
    """
    if grid[0] == other[0] and grid[1].is_close_to(other[1]):
        return None
    here, there = _grid_facts(*grid), _grid_facts(*other)
    # Numbers are rounded: where that hides the difference, all are told.
    odd = [name for name in here if here[name] != there[name]] or list(here)
    return tuple(" and ".join(f"{name} {facts[name]}" for name in odd) for facts in (here, there))


def _grid_facts(shape, geometry):
    return {
        "size": _numbers(shape[::-1]),
        "spacing": f"{_numbers(geometry.spacing_mm)} mm",
        "origin": _numbers(geometry.origin_mm),
        "direction": _numbers(geometry.direction),
    }


def _numbers(values):
    return "(" + ", ".join(f"{value + 0:g}" for value in values) + ")"
