"""Hosts find each other. Two processes train what one does, and end and resume together."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import extract_patches
from brats.errors import InputError
from engine.devices.hosts import Group, find_group, joining, listening_address
from engine.networks.choose import read_network
from model import build_resunet

ROOT = Path(__file__).parents[2]
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "gpu[007-009,012],big1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
ADDRESS = "node1:61000"


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ((None, None, None), {}, Group(None, 1, 0)),
        ((ADDRESS, 2, 1), {}, Group(ADDRESS, 2, 1)),
        ((ADDRESS, 1, 0), {}, Group(None, 1, 0)),
        # Port 61440 + 4097 % 4096.
        ((None, None, None), SLURM, Group("gpu007:61441", 4, 3)),
        ((ADDRESS, None, None), SLURM, Group(ADDRESS, 4, 3)),
        ((ADDRESS, 3, 2), SLURM, Group(ADDRESS, 3, 2)),
        # Open MPI's second process, which it started by srun.
        ((ADDRESS, None, None), SLURM | OPEN_MPI, Group(ADDRESS, 2, 1)),
        # A batch script around srun, and a step of one task.
        ((None, None, None), {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Group(None, 1, 0)),
        ((None, None, None), SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, Group(None, 1, 0)),
    ],
)
def test_hosts_are_found_by_flags_or_else_by_the_variables_of_a_job(flags, environment, expected):
    assert find_group(*flags, environment) == expected


def test_the_coordinator_is_on_the_first_node_of_the_step():
    for nodes, first in {"a1,b2": "a1", "n[3,5]": "n3", "big-[01-03]": "big-01"}.items():
        group = find_group(None, None, None, SLURM | {"SLURM_STEP_NODELIST": nodes})
        assert group.coordinator == f"{first}:61441"


def test_flags_that_are_missing_or_do_not_fit_together_are_errors():
    with pytest.raises(InputError, match="needs --num-hosts and --host-id, .* such as --coord"):
        find_group(ADDRESS, None, None, {})
    with pytest.raises(InputError, match="needs --coordinator, which no variable"):
        find_group(None, None, None, OPEN_MPI)
    with pytest.raises(InputError, match="--host-id is 2, but --num-hosts is 2. .* from 0 to 1"):
        find_group(ADDRESS, 2, 2, {})


def test_host_0_listens_at_one_address_which_has_to_be_its_own_and_free():
    assert listening_address("localhost:61000") == "127.0.0.1:61000"
    assert listening_address("[::1]:61000") == "[::1]:61000"
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        # The second address is reserved for documentation, the third name for tests.
        for address in (taken, "203.0.113.5:61000", "host.invalid:61000"):
            with pytest.raises(
                InputError, match=f"cannot listen at --coordinator {address}: .* Gi"
            ):
                listening_address(address)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX trains on several hosts")
def test_other_backends_are_refused_with_the_remedy():
    message = "pip install -r requirements/jax.txt` and set KERAS_BACKEND=jax"
    with pytest.raises(InputError, match=message), joining(Group(ADDRESS, 2, 0)):
        pass


def on_jax(test):
    """Marks a test of several processes."""
    skip = pytest.mark.skipif(keras.backend.backend() != "jax", reason="several hosts need JAX")
    return pytest.mark.nightly(skip(test))


@pytest.fixture(scope="module")
def patches(cohort, tmp_path_factory):
    """Patches of 4 cases, about 17 each: the last batch of the validation is short."""
    folder = tmp_path_factory.mktemp("patches")
    flags = ["--data-root", str(cohort), "--output", str(folder), "--patches-per-case", "27"]
    extract_patches.main(flags)
    return folder


@pytest.fixture
def start(patches, tmp_path):
    """Starts a training of 2 epochs of 12 steps; it ends with the test at the latest."""
    started = []

    def start_one(*flags, run_dir=tmp_path / "run"):
        command = [sys.executable, str(ROOT / "train.py"), "--patches", str(patches), *flags]
        command += ["--run-dir", str(run_dir), "--base-filters", "2", "--depth", "1"]
        command += ["--epochs", "2", "--steps-per-epoch", "12"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, **pipes))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def start_two(start, *flags):
    """Starts two hosts on this machine."""
    flags += ("--coordinator", f"localhost:{free_port()}", "--num-hosts", "2", "--host-id")
    return start(*flags, "0"), start(*flags, "1")


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def finish(process, timeout_s=200):
    """Waits for a process. Returns its exit code, output and messages."""
    output, messages = process.communicate(timeout=timeout_s)
    return process.returncode, output, messages


def wait_for(path, processes):
    """Waits for a file that one of the processes writes."""
    while not path.exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def assert_same_run(run_dir, expected_dir):
    weights, rows = [], []
    for folder in (run_dir, expected_dir):
        network = read_network(folder / "last.keras", build_resunet)
        weights.append(np.concatenate([value.ravel() for value in network.get_weights()]))
        # Epoch, loss and the three overlaps.
        rows.append(np.genfromtxt(folder / "history.csv", delimiter=",")[1:, :5])
    np.testing.assert_allclose(*weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(*rows, rtol=0, atol=1e-5)


@pytest.fixture
def alone(start, tmp_path_factory):
    """The run of one host; it is trained once."""
    run_dir = tmp_path_factory.getbasetemp() / "alone"
    if not run_dir.exists():
        code, _, messages = finish(start(run_dir=run_dir))
        assert code == 0, messages
    return run_dir


@on_jax
def test_two_hosts_train_what_one_does_and_only_the_first_writes(start, alone, tmp_path):
    hosts = start_two(start)
    first, second = map(finish, hosts)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    printed = [line for line in second[1].splitlines() if not line.startswith("[Gloo]")]
    assert len(printed) == 1 and printed[0].startswith("Host 1 waits for 2 hosts at localhost:")
    assert_same_run(tmp_path / "run", alone)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (record["num_hosts"], record["num_devices"]) == (2, 2)


@on_jax
@pytest.mark.parametrize("victim", [0, 1])
def test_a_host_that_dies_ends_the_other_and_one_alone_can_resume(start, alone, tmp_path, victim):
    hosts = start_two(start, "--state-every", "3")
    wait_for(tmp_path / "run" / "state" / "previous.npz", hosts)
    hosts[victim].kill()
    code, _, messages = finish(hosts[1 - victim], timeout_s=60)
    assert code not in (0, 130) and "Start all again" in messages and "--resume" in messages
    finish(hosts[victim])
    code, _, messages = finish(start("--resume"))
    assert code == 0, messages
    assert_same_run(tmp_path / "run", alone)


@on_jax
def test_a_signal_to_one_host_ends_both_after_one_step(start, alone, tmp_path):
    hosts = start_two(start)
    wait_for(tmp_path / "run" / "config.json", hosts)
    hosts[1].terminate()
    for code, _, messages in map(finish, hosts):
        assert code == 130 and "--resume" in messages, messages
    for code, _, messages in map(finish, start_two(start, "--resume")):
        assert code == 0, messages
    assert_same_run(tmp_path / "run", alone)


@on_jax
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_host_that_waits_for_the_others(start, tmp_path, number):
    address = f"localhost:{free_port()}"
    process = start("--coordinator", address, "--num-hosts", "2", "--host-id", "0")
    assert "Host 0 waits for 2 hosts at localhost:" in process.stdout.readline()
    time.sleep(1)
    process.send_signal(number)
    code, _, messages = finish(process, timeout_s=20)
    assert (code, messages.splitlines()[-1][:12]) == (130, "Interrupted.")
    assert not (tmp_path / "run").exists()
