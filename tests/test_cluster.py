"""Cases on a Dask cluster: workers that this machine starts, and a scheduler with two workers.

Workers, the scheduler and the command are killed midway. The files are those of a run on threads.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brats import cluster
from brats.cluster import connecting
from brats.errors import Failed, InputError
from brats.parallel import run_per_case
from tests.cluster_calls import act
from tests.synthetic import contents, write_constant_network

ROOT = Path(__file__).parents[1]
# Without a commit, which may change while these tests run.
ENVIRONMENT = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "GIT_DIR": os.devnull}
nightly = pytest.mark.nightly


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)  # As Python marks a missing module.
    message = "pip install -r requirements/cluster.txt"
    with pytest.raises(InputError, match=message), connecting("local", tmp_path):
        pass


def test_a_scheduler_that_cannot_be_reached_is_refused_at_once(tmp_path):
    for address, message in (
        (f"{tmp_path}/absent.json", "no scheduler file .*absent.json"),
        ("tls://127.0.0.1:1", "needs certificates"),
    ):
        with pytest.raises((InputError, OSError), match=message), connecting(address, tmp_path):
            pass


@nightly
def test_a_cluster_without_workers_is_waited_for_and_then_given_up(
    scheduler, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cluster, "PATIENCE_S", 1)
    with (
        pytest.raises(OSError, match=f"{scheduler[1]} has no worker. Start some"),
        connecting(str(scheduler[1]), tmp_path),
    ):
        pass
    assert "has no worker. Waiting 1 s" in capsys.readouterr().err


def test_without_an_address_there_is_no_cluster(tmp_path):
    with connecting(None, tmp_path) as none:
        assert none is None


def start(*command):
    """Starts a module or a script from this repository, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
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


def finish(process):
    """Waits for the end; returns the exit code and the last error."""
    errors = process.communicate(timeout=200)[1]
    assert "Traceback" not in errors, errors
    _, mark, message = errors.rpartition("Error: ")
    return process.returncode, message.strip() if mark else ""


def end(process):
    """Ends a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.fixture
def scheduler(tmp_path):
    """A process with a scheduler, and the path of its file."""
    path = tmp_path / "scheduler.json"
    place = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    process = start("-m", "dask", "scheduler", *place, "--scheduler-file", path)
    wait_until(path.exists, process)
    yield process, path
    end(process)


@pytest.fixture
def workers(scheduler, tmp_path, monkeypatch):
    """Two worker processes of one thread each, without a nanny that would replace them."""
    flags = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--scheduler-file", scheduler[1])
    command = ("-m", "dask", "worker", *flags, "--local-directory", tmp_path / "spill")
    processes = [start(*command) for _ in range(2)]
    monkeypatch.setattr(cluster, "source_commit", lambda: "unknown")
    with connecting(str(scheduler[1]), tmp_path) as connected:
        wait_until(lambda: "2 cases at once" in str(connected))
    yield processes
    for process in processes:
        end(process)


@pytest.fixture(scope="module")
def copies(cohort, tmp_path_factory):
    """A folder of many names of one case, so that there is work left when something dies."""
    root = tmp_path_factory.mktemp("copies")
    source = next(cohort.glob("HGG/*"))
    for index in range(24):
        folder = root / f"Brats17_COPY_{index:02d}_1"
        folder.mkdir()
        for path in source.iterdir():
            (folder / path.name.replace(source.name, folder.name)).symlink_to(path)
    return root


def extract(root, output, *more):
    flags = ("--data-root", root, "--output", output, "--patches-per-case", 5)
    return start("extract_patches.py", *flags, *more)


@pytest.fixture(scope="module")
def alone(copies, tmp_path_factory):
    """The patch files of these cases, made without a cluster."""
    output = tmp_path_factory.mktemp("alone") / "patches"
    assert finish(extract(copies, output)) == (0, "")
    return contents(output)


def has_cases(folder, number, suffix=".h5"):
    return lambda: len(list(folder.glob(f"[!.]*{suffix}"))) >= number


@nightly
def test_extraction_and_prediction_write_the_same_files_on_workers_of_this_machine(
    copies, alone, cohort, tmp_path
):
    local = ("--scheduler", "local", "--workers", 1)
    assert finish(extract(copies, tmp_path / "patches", *local)) == (0, "")
    assert contents(tmp_path / "patches") == alone
    network = write_constant_network(tmp_path / "a.keras", [0.1, 0.3, 0.1, 0.5])
    flags = ("--data-root", cohort, "--weights", network, "--probabilities", "--output")
    assert finish(start("predict.py", *flags, tmp_path / "local", *local)) == (0, "")
    assert finish(start("predict.py", *flags, tmp_path / "alone")) == (0, "")
    files = [contents(tmp_path / name).items() for name in ("local", "alone")]
    # What the report keeps of a case holds the times of its files.
    assert {name for name, _ in files[0] ^ files[1] if not name.startswith("report/")} == set()


@nightly
def test_cases_that_fail_or_kill_workers_are_reported_and_the_others_come_in_order(tmp_path):
    import distributed

    tasks = {stem: tmp_path / f"{stem}.txt" for stem in ("a", "fail", "b", "die", *"cdefg")}
    with connecting("local", tmp_path, 2) as connected:
        address = connected._client.scheduler.address
        with pytest.raises(OSError):  # Other users of this machine cannot connect.
            distributed.Client(address.replace("tls", "tcp"), timeout=1, set_as_default=False)
        results = list(run_per_case(act, tasks, 1, connected))
        with pytest.raises(ZeroDivisionError):
            list(run_per_case(act, {"break": tmp_path / "break.txt"}, 1, connected))
    assert [name for name, _ in results] == list(tasks)
    failed = {name: result for name, result in results if isinstance(result, Failed)}
    assert failed.pop("fail") == Failed("fail", f"{tasks['fail']} is torn.")
    # Dask also blames cases that the dead workers had received. Alone, they succeed.
    assert "workers died with it, the last while it ran alone" in failed.pop("die").reason
    assert not failed
    assert all(name in ("fail", "die") or result == f"{name}.txt" for name, result in results)
    assert len(tasks["fail"].read_text().splitlines()) == 1  # A damaged case stays damaged.
    assert len(tasks["die"].read_text().splitlines()) == 2  # With others, and then alone.


@nightly
def test_a_killed_worker_has_its_cases_done_by_the_other(
    copies, alone, scheduler, workers, tmp_path
):
    output = tmp_path / "patches"
    process = extract(copies, output, "--scheduler", scheduler[1])
    wait_until(has_cases(output, 3), process)
    workers[0].kill()
    assert finish(process) == (0, "")
    # What the killed worker was writing is left until the next extraction.
    assert finish(extract(copies, output)) == (0, "")
    assert contents(output) == alone


@nightly
def test_a_lost_scheduler_is_named_and_finished_cases_are_kept(
    copies, alone, scheduler, workers, tmp_path
):
    output = tmp_path / "patches"
    process = extract(copies, output, "--scheduler", scheduler[1])
    wait_until(has_cases(output, 3), process)
    end(scheduler[0])
    code, message = finish(process)
    assert code == 1 and f"The scheduler {scheduler[1]} is gone" in message
    for worker in workers:
        end(worker)
    assert finish(extract(copies, output)) == (0, "")
    assert contents(output) == alone


@nightly
def test_workers_of_another_commit_or_disk_are_refused(scheduler, workers, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "source_commit", lambda: "another")
    with (
        pytest.raises(InputError, match="Workers have .*; expected .*'another'"),
        connecting(str(scheduler[1]), tmp_path),
    ):
        pass
    assert not list(tmp_path.glob(".writing-*"))
    facts = cluster._describe_worker(Path("/nowhere/token"))
    assert facts["/nowhere"] is False


@nightly
def test_workers_of_this_machine_end_with_the_command(copies, alone, tmp_path):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("processes in the background ignore SIGINT")
    output = tmp_path / "patches"
    process = extract(copies, output, "--scheduler", "local", "--workers", "2")
    wait_until(has_cases(output, 3), process)
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to the workers as well.
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.endswith("Finished cases are kept. Run the command again to continue.\n")

    def is_gone():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            return False
        return True

    wait_until(is_gone, timeout_s=30)
    assert finish(extract(copies, output)) == (0, "")
    assert contents(output) == alone


@nightly
def test_an_interruption_while_workers_start_is_one_line(copies, tmp_path):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("processes in the background ignore SIGINT")
    process = extract(copies, tmp_path / "patches", "--scheduler", "local", "--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text(), process)  # Python's resource tracker, then workers.
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and errors.startswith("Interrupted. ")
    assert errors.count("\n") == 1


@nightly
def test_an_address_without_a_scheduler_is_named(cohort, tmp_path):
    code, message = finish(extract(cohort, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1"))
    assert code == 1 and "No Dask scheduler answers at tcp://127.0.0.1:1" in message
