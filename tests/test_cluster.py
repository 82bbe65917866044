"""Cases on a real cluster: a scheduler and two worker processes on this machine.

Workers, clients and cases are killed midway; what is written are the bytes of a run without it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brats.cases.find import find_cases
from brats.cluster import connecting
from brats.errors import Failed
from brats.parts import parts_path
from brats.unfinished import journal_path
from tests.cluster_calls import act
from tests.synthetic import write_constant_network

ROOT = Path(__file__).parents[1]
NUM_COPIES = 24
ENVIRONMENT = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def start(*command, folder=ROOT):
    """Starts a module or a script, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        close_fds=False,  # JAX warns of a fork otherwise.
    )


def wait_until(is_true, process=None, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def end(process):
    """Ends a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def start_scheduler(path):
    """Starts a scheduler on a free port, and waits until its file is there."""
    place = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    # Elsewhere, as it does without this repository.
    command = ("-m", "dask", "scheduler", *place, "--scheduler-file", path)
    process = start(*command, folder=path.parent)
    wait_until(path.exists, process)
    return process


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The path of the file of a scheduler, which has no workers yet."""
    path = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    process = start_scheduler(path)
    yield path
    end(process)


@pytest.fixture
def workers(scheduler, tmp_path_factory):
    """Two worker processes of one thread each, without a nanny that would replace them."""
    flags = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--scheduler-file", scheduler)
    folder = tmp_path_factory.mktemp("workers")
    flags = (*flags, "--local-directory", folder)
    processes = [start("-m", "dask", "worker", *flags) for _ in range(2)]
    with connecting(str(scheduler)) as cluster:
        wait_until(lambda: cluster.count_threads() == 2)
    yield processes
    for process in processes:
        end(process)
    with connecting(str(scheduler)) as cluster:
        wait_until(lambda: cluster.count_threads() == 0)


@pytest.fixture(scope="module")
def copies(cohort, tmp_path_factory):
    """A folder of many names of one case, so that there is work left when something dies."""
    root = tmp_path_factory.mktemp("copies")
    source = next(cohort.glob("HGG/*"))
    for index in range(NUM_COPIES):
        folder = root / f"Brats17_COPY_{index:02d}_1"
        folder.mkdir()
        for path in source.iterdir():
            (folder / path.name.replace(source.name, folder.name)).symlink_to(path)
    return root


@pytest.fixture(scope="module")
def whole(copies, tmp_path_factory):
    """The bytes of the patch file of these cases, made without a cluster."""
    output = tmp_path_factory.mktemp("whole") / "patches.h5"
    assert finish(extract(copies, output)) == (0, "")
    return output.read_bytes()


def extract(root, output, *more):
    flags = ("--data-root", root, "--output", output, "--patches-per-case", 5)
    return start("extract_patches.py", *flags, *more)


def finish(process):
    """Waits for the end; returns the exit code and the last error."""
    errors = process.communicate(timeout=100)[1]
    assert "Traceback" not in errors, errors
    _, mark, message = errors.rpartition("Error: ")
    return process.returncode, message.strip() if mark else ""


def wait_for_cases(process, output, number):
    """Waits until an extraction has noted a number of cases."""
    journal = journal_path(output)

    def are_noted():
        with contextlib.suppress(FileNotFoundError):
            return len(journal.read_bytes().splitlines()) > number
        return False

    wait_until(are_noted, process)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_worker_has_its_cases_done_by_the_other(
    copies, whole, scheduler, workers, tmp_path
):
    output = tmp_path / "patches.h5"
    process = extract(copies, output, "--scheduler", scheduler)
    wait_for_cases(process, output, 3)
    workers[0].kill()
    assert finish(process) == (0, "")
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["patches.h5"]


def test_killed_itself_it_goes_on_without_the_cluster(copies, whole, scheduler, workers, tmp_path):
    output = tmp_path / "patches.h5"
    process = extract(copies, output, "--scheduler", scheduler)
    wait_for_cases(process, output, 3)
    process.kill()
    process.communicate()
    assert len(names(parts_path(output))) >= 1
    assert finish(extract(copies, output, "--resume")) == (0, "")
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["patches.h5"]


def test_a_lost_scheduler_is_told_and_finished_cases_are_kept(copies, whole, tmp_path):
    output, path = tmp_path / "out" / "patches.h5", tmp_path / "scheduler.json"
    scheduler = start_scheduler(path)
    worker = start(
        *("-m", "dask", "worker", "--scheduler-file", path, "--no-nanny", "--nthreads", "1"),
        *("--no-dashboard", "--local-directory", tmp_path),
    )
    try:
        process = extract(copies, output, "--scheduler", path)
        wait_for_cases(process, output, 3)
        scheduler.kill()
        code, message = finish(process)
    finally:
        end(worker)
        end(scheduler)
    assert code == 1 and "has gone" in message
    assert message.endswith("What was done before is kept: go on with --resume.")
    assert finish(extract(copies, output, "--resume")) == (0, "")
    assert output.read_bytes() == whole


def copy_with_a_broken_case(copies, root, index):
    """Makes a folder of links to six cases, one of which holds something else than an image."""
    for folder in sorted(copies.iterdir())[:6]:
        (root / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            (root / folder.name / path.name).symlink_to(path.resolve())
    broken = next(sorted(root.iterdir())[index].glob("*_t2.nii.gz"))
    image, content = broken.resolve(), bytearray(broken.read_bytes())
    broken.unlink()
    content[-8] ^= 255  # The checksum, which only reading all of it tells.
    broken.write_bytes(content)
    return broken, image


@pytest.mark.parametrize("index", [0, 2])
def test_a_case_that_fails_is_reported_and_the_rest_is_kept_for_resuming(
    copies, scheduler, workers, tmp_path, index
):
    root, output = tmp_path / "cases", tmp_path / "out" / "patches.h5"
    broken, image = copy_with_a_broken_case(copies, root, index)
    case_id = broken.parent.name
    # The second time, the broken case alone is tried.
    for more in ([], ["--resume"]) if index else ([],):
        code, message = finish(extract(root, output, "--scheduler", scheduler, *more))
        assert code == 1
        told = f"1 of 6 cases failed, see above: {case_id}. What was done before is kept: go on "
        assert message == f"{told}with --resume."
        assert len(names(parts_path(output))) == 5 - index
        assert parts_path(output).is_dir()
    broken.unlink()
    broken.symlink_to(image)
    assert finish(extract(root, output, "--resume")) == (0, "")
    assert names(output.parent) == ["patches.h5"]
    assert finish(extract(root, tmp_path / "whole.h5")) == (0, "")
    assert output.read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_nothing_is_left_where_every_case_fails(copies, scheduler, workers, tmp_path):
    root, output = tmp_path / "cases", tmp_path / "out" / "patches.h5"
    broken, _ = copy_with_a_broken_case(copies, root, 0)
    for path in root.glob("*/*_t2.nii.gz"):
        if path != broken:
            path.unlink()
            path.write_bytes(broken.read_bytes())
    code, message = finish(extract(root, output, "--scheduler", scheduler))
    assert code == 1 and message.startswith("6 of 6 cases failed, see above: ")
    assert "--resume" not in message
    assert names(output.parent) == []


def test_what_fails_is_tried_three_times_and_the_others_come_back_in_order(tmp_path, monkeypatch):
    stems = ["a", "fail", "b", "break", "c", "die", *"defg"]
    paths = {stem: tmp_path / f"{stem}.txt" for stem in stems}
    with (
        connecting("local", 2) as cluster,
        cluster.sharing(tmp_path, [], "tests.cluster_calls:describe_nothing"),
    ):
        results = list(cluster.in_order(act, paths))
    for stem, result in zip(stems, results, strict=True):
        if stem in ("fail", "break", "die"):
            assert isinstance(result, Failed) and result.case_id == stem
            assert len(paths[stem].read_text().splitlines()) == 3
        else:
            assert result == f"{stem}.txt"
    reasons = {result.case_id: result.reason for result in results if isinstance(result, Failed)}
    assert reasons["fail"].endswith("torn")
    assert "ZeroDivisionError: a defect" in reasons["break"]
    assert "died" in reasons["die"]


def group_is_gone(group):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_of_this_machine_end_with_the_command(copies, whole, tmp_path, number):
    output = tmp_path / "patches.h5"
    process = extract(copies, output, "--scheduler", "local", "--workers", "2")
    wait_for_cases(process, output, 3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # As a terminal does: to the workers as well.
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert errors.endswith("Interrupted. Finished cases are kept: go on with --resume.\n")
        assert "Traceback" not in errors
    else:
        process.kill()
        process.communicate()
    wait_until(lambda: group_is_gone(process.pid), timeout_s=20)
    assert finish(extract(copies, output, "--resume")) == (0, "")
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["patches.h5"]


def predict(cohort, network, output, *more):
    flags = ("--data-root", cohort, "--weights", network, "--output", output, "--probabilities")
    return start("predict.py", *flags, *more)


def contents(folder):
    """Returns the bytes of every file of a prediction, but for those that hold its settings."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("config.json", "report.html")
    }


def test_prediction_writes_the_same_files_though_a_worker_is_killed(
    cohort, scheduler, workers, tmp_path
):
    network = write_constant_network(tmp_path / "constant.keras", [0.1, 0.3, 0.1, 0.5])
    output, cases = tmp_path / "cluster", find_cases(cohort, need_segmentation=False)
    process = predict(cohort, network, output, "--scheduler", scheduler)
    wait_until(lambda: list(output.glob("[!.]*.nii.gz")), process)
    workers[0].kill()
    assert finish(process) == (0, "")
    assert finish(predict(cohort, network, tmp_path / "alone")) == (0, "")
    expected = contents(tmp_path / "alone")
    assert len(expected) == len(cases) * (1 + 3 + 2) + 3  # Volumes, pictures, tables, box plots.
    assert contents(output) == expected


def test_a_worker_with_other_versions_is_named(scheduler, workers, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.cluster_calls.describe_nothing", lambda: {"numpy": "1.0"})
    with (
        connecting(str(scheduler)) as cluster,
        pytest.raises(ValueError, match='worker tcp://127.0.0.1:.* has numpy null, not "1.0"'),
        cluster.sharing(tmp_path, [], "tests.cluster_calls:describe_nothing"),
    ):
        pass
    assert names(tmp_path) == []
