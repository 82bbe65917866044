"""Hosts find each other; two processes train what one does, and end and go on together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from brats.errors import InputError
from engine.devices.hosts import Group, find_group, joining
from model import build_resunet
from tests.synthetic import write_noise

ROOT = Path(__file__).parents[1]
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "gpu[007-009,012],big1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
ADDRESS = "node1:61000"

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="several hosts train on JAX; set KERAS_BACKEND=jax"
)


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
        ((ADDRESS, None, None), OPEN_MPI, Group(ADDRESS, 2, 1)),
        # Open MPI's second process, started by an srun of its own.
        ((ADDRESS, None, None), SLURM | OPEN_MPI, Group(ADDRESS, 2, 1)),
        # A batch script around srun, and a step of one task.
        ((None, None, None), {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Group(None, 1, 0)),
        ((None, None, None), SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, Group(None, 1, 0)),
    ],
)
def test_hosts_are_found_by_flags_or_else_by_the_variables_of_a_job(flags, environment, expected):
    assert find_group(*flags, environment) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node1", "node1"), ("a1,b2", "a1"), ("n[3,5]", "n3"), ("big-[01-03]", "big-01")],
)
def test_the_coordinator_is_on_the_first_node_of_the_step(nodes, first):
    group = find_group(None, None, None, SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert group.coordinator == f"{first}:61441"


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ((ADDRESS, None, None), {}, "lacks --num-hosts and --host-id, which no variable"),
        ((None, 2, 1), {}, "lacks --coordinator, .* such as --coordinator node1:61000"),
        ((None, None, None), OPEN_MPI, "lacks --coordinator"),
        ((ADDRESS, 2, 2), {}, "--host-id is 2 of --num-hosts 2; hosts are counted from 0 to 1"),
    ],
)
def test_flags_that_are_not_enough_or_do_not_fit_are_errors(flags, environment, message):
    with pytest.raises(InputError, match=message):
        find_group(*flags, environment)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX trains on several hosts")
def test_other_backends_are_refused_with_the_way_out():
    message = "runs under jax only. Set KERAS_BACKEND=jax, after pip install -r requirements-jax"
    with pytest.raises(InputError, match=message), joining(Group(ADDRESS, 2, 0)):
        pass


def test_one_host_joins_nothing():
    with joining(Group(None, 1, 0)):
        pass


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """A patch file of 82 patches to train on and 7, not a multiple of 4, to validate on."""
    path = tmp_path_factory.mktemp("data") / "patches.h5"
    write_noise(path, np.random.default_rng(0), num_train=82, num_validation=7)
    return path


def start(patches, run_dir, *flags, host=None, num_hosts=2, port=None):
    """Starts a training of 2 epochs of 20 steps; alone, or as one of the hosts on this machine."""
    command = [sys.executable, str(ROOT / "train.py"), "--patches", str(patches)]
    command += ["--run-dir", str(run_dir), "--base-filters", "2", "--depth", "1"]
    command += ["--epochs", "2", "--steps-per-epoch", "20", *flags]
    if host is not None:
        command += ["--coordinator", f"localhost:{port}"]
        command += ["--num-hosts", str(num_hosts), "--host-id", str(host)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def environment():
    """Returns the variables of a process with one device, whatever this one has."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags = " ".join(name for name in flags if "device_count" not in name)
    return os.environ | {"XLA_FLAGS": flags}


def free_port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


@pytest.fixture
def start_two(patches):
    """Starts two hosts, whose flags `others` the second has alone; none outlives the test."""
    started = []

    def start_both(run_dir, *flags, others=()):
        port = free_port()
        for host in range(2):
            more = others if host else ()
            started.append(start(patches, run_dir, *flags, *more, host=host, port=port))
        return started[-2:]

    yield start_both
    for process in started:
        process.kill()
        process.communicate()


def finish(process, timeout_s=200):
    """Returns exit code, output and messages of a process."""
    output, messages = process.communicate(timeout=timeout_s)
    return process.returncode, output, messages


def last_weights(run_dir):
    network = build_resunet((None, None, 4), base_filters=2, depth=1)
    network.load_weights(run_dir / "last.keras")
    return network.get_weights()


def assert_same_weights(run_dir, expected_dir):
    for weight, expected in zip(last_weights(run_dir), last_weights(expected_dir), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def alone(patches, tmp_path_factory):
    """The run of one host."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    code, _, messages = finish(start(patches, run_dir))
    assert code == 0, messages
    return run_dir


@on_jax
def test_two_hosts_train_what_one_does_and_the_first_alone_writes(start_two, alone, tmp_path):
    first, second = map(finish, start_two(tmp_path / "run"))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "devices: 2, hosts: 2" in first[1]
    told = [line for line in second[1].splitlines() if not line.startswith("[Gloo]")]
    assert len(told) == 1 and told[0].startswith("Host 1 waits for 2 hosts at localhost:")
    assert_same_weights(tmp_path / "run", alone)
    rows, expected = (
        np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
        for folder in (tmp_path / "run", alone)
    )
    for name in ("loss", "val_loss", "dice_whole", "val_dice_whole"):
        np.testing.assert_allclose(rows[name], expected[name], rtol=0, atol=1e-5)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (record["num_hosts"], record["num_devices"]) == (2, 2)


@on_jax
@pytest.mark.parametrize("victim", [0, 1])
def test_a_host_that_dies_ends_the_other_and_one_goes_on_alone(
    start_two, patches, alone, tmp_path, victim
):
    run_dir = tmp_path / "run"
    hosts = start_two(run_dir, "--state-every", "3")
    wait_for(lambda: (run_dir / "state" / "previous.npz").exists(), hosts)
    hosts[victim].kill()
    killed = time.monotonic()
    code, _, messages = finish(hosts[1 - victim])
    assert time.monotonic() - killed < 60
    assert code not in (0, 130) and "Start all again, with --resume" in messages
    finish(hosts[victim])
    code, _, messages = finish(start(patches, run_dir, "--resume"))
    assert code == 0, messages
    assert_same_weights(run_dir, alone)


@on_jax
def test_a_signal_to_one_host_ends_both_after_one_step(start_two, alone, tmp_path):
    run_dir = tmp_path / "run"
    hosts = start_two(run_dir)
    wait_for(lambda: (run_dir / "config.json").exists(), hosts)
    hosts[1].terminate()
    for code, _, messages in map(finish, hosts):
        assert code == 130, messages
        assert "go on with the same command and --resume" in messages
    for code, _, messages in map(finish, start_two(run_dir, "--resume")):
        assert code == 0, messages
    assert_same_weights(run_dir, alone)


@on_jax
def test_hosts_with_other_settings_are_refused_by_name(start_two, tmp_path):
    hosts = start_two(tmp_path / "run", others=("--seed", "5"))
    (first, _, first_messages), (second, _, messages) = map(finish, hosts)
    assert (first, second) == (1, 1)
    assert "Host 1 was started with other settings than host 0: --seed is 5, there 0." in messages
    assert "Hosts started with other settings than host 0: 1. Their" in first_messages
    assert not (tmp_path / "run").exists()


@on_jax
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_host_that_waits_for_the_others(patches, tmp_path, number):
    process = start(patches, tmp_path / "run", host=0, port=free_port())
    assert "Host 0 waits for 2 hosts at localhost:" in process.stdout.readline()
    time.sleep(1)
    process.send_signal(number)
    code, _, messages = finish(process, timeout_s=20)
    assert (code, messages.splitlines()[-1][:12]) == (130, "Interrupted.")
    assert not (tmp_path / "run").exists()


def wait_for(condition, processes, timeout_s=200):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
