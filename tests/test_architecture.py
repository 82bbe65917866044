"""What may import what, how long things may be, and that importing does nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("extract_patches", "train", "predict")
TOP_LEVEL = (*SCRIPTS, "model", "losses", "config")
FOLDERS = ("brats", "engine", "benchmarks")
PATHS = sorted(ROOT.glob("*.py")) + [
    path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))
]
NAMES = [path.relative_to(ROOT).as_posix() for path in PATHS]
OURS = {*TOP_LEVEL, *FOLDERS, "tests"}
# What each part may import beside the standard library.
ALLOWED = {
    "extract_patches.py": {"brats", "config", "numpy", "tqdm"},
    "train.py": {"brats", "engine", "config", "model", "losses", "keras", "tqdm", "numpy"},
    "predict.py": {"brats", "engine", "config", "model", "keras", "tqdm", "numpy"},
    "model.py": {"keras"},
    "losses.py": {"keras"},
    "config.py": {"brats"},
    "brats": {"brats", "numpy", "scipy", "SimpleITK", "h5py"},
    "engine": {"engine", "brats", "keras", "h5py", "numpy"},
}

# What only one module may, to which its concern is confined.
ALSO_ALLOWED = {
    "brats/cluster.py": {"dask", "distributed"},
    "brats/worker_calls.py": {"distributed"},
    "brats/curves.py": {"matplotlib"},
    "brats/figures.py": {"matplotlib"},
    "brats/plots.py": {"matplotlib"},
    "engine/devices.py": {"openvino", "tensorflow", "torch"},
    "engine/event_file.py": {"matplotlib", "tensorboard"},
    "engine/hosts.py": {"jax"},
    "engine/replicas.py": {"tensorflow"},
    "engine/sharding.py": {"jax"},
}

every_file = pytest.mark.parametrize("name", NAMES)


def parse(name):
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def imported_names(tree):
    """Returns the first part of every imported module, wherever the import stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0] if not node.level else "a relative import")
    return names


def code_length(function):
    """Returns the lines of a function from its signature to its end, less the docstring."""
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    docstring = function.body[0]
    return length - (docstring.end_lineno - docstring.lineno + 1)


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c\nfrom d.e import f\ndef g():\n    import h\n    from . import i"
    assert imported_names(ast.parse(source)) == {"a", "c", "d", "h", "a relative import"}


def test_docstrings_do_not_count_as_code():
    source = 'def a():\n    """One.\n\n    Two.\n    """\n    b = 1\n    return b'
    assert code_length(ast.parse(source).body[0]) == 3


def test_top_level_holds_three_scripts_and_three_modules():
    assert sorted(path.stem for path in ROOT.glob("*.py")) == sorted(TOP_LEVEL)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("benchmarks")])
def test_each_part_imports_only_what_it_may(name):
    allowed = ALLOWED[name.split("/")[0]] | ALSO_ALLOWED.get(name, set())
    allowed = allowed | set(sys.stdlib_module_names)
    assert imported_names(parse(name)) <= allowed


@every_file
def test_nothing_imports_a_script(name):
    assert not imported_names(parse(name)) & set(SCRIPTS)


@every_file
def test_only_scripts_import_the_configuration(name):
    assert "config" not in imported_names(parse(name)) or Path(name).stem in SCRIPTS


@every_file
def test_nothing_imports_the_tests(name):
    assert "tests" not in imported_names(parse(name))


@every_file
def test_file_keeps_to_its_budget_of_lines(name):
    num_lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert num_lines <= (165 if Path(name).stem in SCRIPTS else 300)


@every_file
def test_functions_have_at_most_50_lines_of_code(name):
    lengths = {
        node.name: code_length(node)
        for node in ast.walk(parse(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {function: length for function, length in lengths.items() if length > 50} == {}


@every_file
def test_errors_are_raised_and_caught_by_name(name):
    nodes = list(ast.walk(parse(name)))
    assert not [node.lineno for node in nodes if isinstance(node, ast.Assert)]
    handlers = [node for node in nodes if isinstance(node, ast.ExceptHandler)]
    assert not [handler.lineno for handler in handlers if handler.type is None]


@every_file
def test_nothing_is_imported_by_star(name):
    imports = [node for node in ast.walk(parse(name)) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in imports if any(alias.name == "*" for alias in node.names)]


@every_file
def test_module_opens_with_what_goes_in_and_what_comes_out(name):
    docstring = ast.get_docstring(parse(name))
    assert docstring
    if not name.endswith("__init__.py"):
        assert "In: " in docstring and "Out" in docstring


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "brats").glob("*.py")))
def test_importing_the_data_side_does_nothing_and_needs_no_keras(module, tmp_path):
    name = "brats" if module == "__init__" else f"brats.{module}"
    backends = {"keras", "tensorflow", "jax", "torch"}
    check = f"import sys, {name}; sys.exit(' '.join({backends} & set(sys.modules)) or 0)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", check],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (result.stdout, result.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
