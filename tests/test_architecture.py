"""The rules of style and design that a machine can check; each test lists the offenders."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("extract_patches", "train", "predict")

# What each part may import beside the standard library and itself. Nothing may import a script or
# a test, and only scripts may import config.
ALLOWED = {
    "extract_patches": {"brats", "config"},
    "train": {"brats", "engine", "config", "model", "losses"},
    "predict": {"brats", "engine", "config", "model"},
    "model": {"keras"},
    "losses": {"keras"},
    "config": {"brats"},
    "brats": {"numpy", "scipy", "SimpleITK", "h5py"},
    "engine": {"brats", "keras", "h5py", "numpy"},
    "benchmarks": {"brats", "engine", "model", "losses", "keras", "numpy", "scipy"},
}
# What only some folders and modules may import.
ALSO_ALLOWED = {
    "brats.cluster": {"distributed"},
    "brats.local_cluster": {"dask", "distributed"},
    "brats.pictures": {"matplotlib"},
    "brats.progress": {"tqdm"},
    "brats.scores": {"surface_distance"},
    "brats.volumes": {"nibabel"},
    "benchmarks.extraction": {"SimpleITK"},
    "benchmarks.network": {"jax", "tensorflow", "torch"},
    "engine.devices.backend": {"openvino", "tensorflow", "torch"},
    "engine.devices.choose": {"jax", "tensorflow"},
    "engine.devices.hosts": {"jax"},
    "engine.devices.replicas": {"tensorflow"},
    "engine.devices.sharding": {"jax"},
    "engine.runs.logs": {"tensorboardX"},
}


def module_name(path):
    """Returns the dotted name of a module: `brats/cases/__init__.py` is `brats.cases`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(tree, modules):
    """Returns the full names of all imported modules, also of imports inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else source for name in names}
    return found


def find_circle(imports):
    """Returns a list of nodes that import each other in a circle, or an empty list."""
    done = set()

    def visit(node, path):
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            for other in sorted(imports.get(node, ())):
                if circle := visit(other, [*path, node]):
                    return circle
            done.add(node)
        return []

    return next(filter(None, (visit(node, []) for node in sorted(imports))), [])


def folder_of(module):
    """Returns `brats.cases` for `brats.cases.find`; a module outside such a folder is its own."""
    return ".".join(module.split(".")[:2])


def code_length(function):
    """Returns the number of lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False) or ""
    return function.end_lineno - function.lineno + 1 - len(docstring.splitlines())


def git_files(*patterns):
    command = ["git", "ls-files", "-z", "--cached", *patterns]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("this is not a git checkout")
    return [path for path in map(ROOT.joinpath, result.stdout.split("\0")) if path.is_file()]


PATTERNS = ("*.py", "brats/**/*.py", "engine/**/*.py", "benchmarks/**/*.py")
PATHS = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
SOURCES = {module_name(path): path.read_text(encoding="utf-8") for path in PATHS}
TREES = {module: ast.parse(source, module) for module, source in SOURCES.items()}
IMPORTS = {module: find_imports(tree, set(SOURCES)) for module, tree in TREES.items()}
OURS = {
    module: {name for name in names if name in SOURCES and name != module}
    for module, names in IMPORTS.items()
}


def offenders(kind, is_wrong):
    """Returns module and line of all syntax nodes of a kind that are wrong."""
    return [
        f"{module}, line {node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, kind) and is_wrong(node)
    ]


def test_imports_and_circles_are_found():
    source = "import a.b, c\nfrom d import e, f\ndef g():\n    import h\n    from . import i"
    assert find_imports(ast.parse(source), {"d.e"}) == {"a.b", "c", "d.e", "d", "h", "."}

    assert find_circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == ["b", "c", "d", "b"]


def test_each_part_imports_only_what_it_may():
    assert {module.split(".")[0] for module in IMPORTS} == set(ALLOWED)
    wrong = {}
    for module, names in IMPORTS.items():
        part = module.split(".")[0]
        allowed = {part, *sys.stdlib_module_names} | ALLOWED[part]
        for name in {folder_of(module), module}:
            allowed |= ALSO_ALLOWED.get(name, set())
        wrong[module] = {name.split(".")[0] for name in names} - allowed
    assert {module: names for module, names in wrong.items() if names} == {}


def test_no_files_and_no_folders_import_each_other_in_a_circle():
    folders = {}
    for module, names in OURS.items():
        others = {folder_of(name) for name in names} - {folder_of(module)}
        folders[folder_of(module)] = folders.get(folder_of(module), set()) | others
    assert find_circle(OURS) == [] and find_circle(folders) == []


@pytest.mark.parametrize("script", ["extract_patches", "predict"])
def test_a_script_imports_at_most_20_names_of_the_project(script):
    names = {
        alias.name
        for node in ast.walk(TREES[script])
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ALLOWED
        for alias in node.names
    }
    assert len(names) <= 20, names


def test_files_and_functions_keep_to_their_budgets():
    lengths = {module: len(source.splitlines()) for module, source in SOURCES.items()}
    budgets = {module: 165 if module in SCRIPTS else 300 for module in lengths}
    assert {m: length for m, length in lengths.items() if length > budgets[m]} == {}
    assert offenders(ast.FunctionDef, lambda node: code_length(node) > 50) == []


def test_the_repository_keeps_to_its_size():
    paths = git_files("*.py")
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    in_tests = sum(number for path, number in lines.items() if ROOT / "tests" in path.parents)
    elsewhere = sum(lines.values()) - in_tests
    assert elsewhere <= 11_100 and in_tests <= 12_200, (elsewhere, in_tests)


def test_errors_are_raised_and_caught_by_name_and_nothing_is_imported_by_star():
    assert offenders(ast.Assert, lambda node: True) == []
    assert offenders(ast.ExceptHandler, lambda node: node.type is None) == []
    assert offenders(ast.ImportFrom, lambda node: node.names[0].name == "*") == []


def test_every_module_says_what_goes_in_and_what_comes_out():
    docstrings = {module: ast.get_docstring(tree) or "" for module, tree in TREES.items()}
    assert [m for m, text in docstrings.items() if not ("In: " in text and "Out" in text)] == []
    # A folder says it in its map, which imports nothing.
    maps = [module_name(path) for path in PATHS if path.name == "__init__.py"]
    lengths = {module: len(SOURCES[module].splitlines()) for module in maps if module != "engine"}
    assert [m for m, length in lengths.items() if length > 12 or IMPORTS[m]] == []


def test_no_file_holds_a_path_of_a_machine():
    roots = [f"/{name}/".encode() for name in ("work", "root", "home")]
    paths = [path for path in git_files() if path.name != "niivue.umd.js"]  # Not ours.
    assert [path for path in paths if any(root in path.read_bytes() for root in roots)] == []


def test_importing_the_data_side_prints_nothing_writes_nothing_and_needs_no_keras(tmp_path):
    modules = [module for module in SOURCES if module.startswith("brats")]
    others = {"keras", "tensorflow", "jax", "torch", "matplotlib.pyplot", "distributed"}
    check = f"import sys, {', '.join(modules)}; print(*{others} & set(sys.modules), end='')"
    command = [sys.executable, "-B", "-c", check]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
