"""Training on several hosts: how they find each other, and how all end when one ends.

In: flags, or the variables of Slurm or Open MPI. Out: processes that JAX has joined, over which
`engine.devices.choose` spreads batches.
"""

import atexit
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass

import keras

from brats.errors import InputError, shortened

# Variables of the number of processes and of the index of this one. `mpirun` and `srun` set them
# for each process, but not for the batch script around. `mpirun` may start processes by `srun`.
VARIABLES = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
FIRST_NODE = re.compile(r"(?P<prefix>[^,\[]+)(\[(?P<number>\d+))?")  # Of node[001-004,007],other.
LOWEST_PORT = 61440  # Programs may use it and those above. A job takes one of the next 4096.
START_AGAIN = (
    "The messages of the other hosts say why. Start all again, on any number of hosts, with "
    "--resume if the run folder holds a config.json."
)
ALIVE_S = 30  # A host without a sign of life for so long is taken for dead.
JOINING_S = 300


class EndedTogether(KeyboardInterrupt):
    """An interruption that all hosts have agreed on, between two batches."""


@dataclass(frozen=True)
class Group:
    """Hosts that train together, see `find_group`. One host alone has no coordinator."""

    coordinator: str | None
    num_hosts: int
    host: int


def find_group(coordinator, num_hosts, host, environment):
    """Finds the hosts to train with: by flags, or else by the variables of a job.

    Args:
        coordinator: Address of host 0, "name:port", or None.
        num_hosts: Number of hosts, int, or None.
        host: Index of this host, from 0, or None.
        environment: Dict of variables, such as `os.environ`.

    Returns:
        A `Group`.

    Raises:
        InputError: If something is missing or does not fit together.
    """
    is_asked = not (coordinator is num_hosts is host is None)
    for size, rank in VARIABLES:
        if environment.get(size, "").isdigit() and environment.get(rank, "").isdigit():
            num_hosts = int(environment[size]) if num_hosts is None else num_hosts
            host = int(environment[rank]) if host is None else host
            break
    if num_hosts == 1 or (num_hosts is None and not is_asked):
        return Group(None, 1, 0)
    coordinator = coordinator or _first_node(environment)
    flags = {"--coordinator": coordinator, "--num-hosts": num_hosts, "--host-id": host}
    missing = [flag for flag, value in flags.items() if value is None]
    if missing:
        raise InputError(
            f"Training on several hosts needs {' and '.join(missing)}, which no variable of Slurm "
            "or Open MPI gives. Give all three flags on every host, such as --coordinator "
            "node1:61000 --num-hosts 2 --host-id 0."
        )
    if host >= num_hosts:
        raise InputError(
            f"--host-id is {host}, but --num-hosts is {num_hosts}. Hosts are counted from 0 to "
            f"{num_hosts - 1}."
        )
    return Group(coordinator, num_hosts, host)


@contextlib.contextmanager
def joining(group, tell=lambda text: None):
    """Joins the hosts of a group while the block runs. Enter it before anything uses a device.

    If the block fails on a host, or the host dies, the others fail within a minute.

    Args:
        group: A `Group`; nothing is done for one host.
        tell: Function that prints a sentence for the user who waits.

    Raises:
        InputError: If the backend is not JAX, host 0 cannot listen at the address of the
            coordinator, or hosts are missing or have ended.
    """
    if group.num_hosts == 1:
        yield
        return
    if keras.backend.backend() != "jax":
        raise InputError(
            f"KERAS_BACKEND is {keras.backend.backend()}, but only jax trains on "
            f"{group.num_hosts} hosts. Run `pip install -r requirements/jax.txt` and set "
            "KERAS_BACKEND=jax, or train on one host with --num-hosts 1."
        )
    import jax

    address = None if group.host else listening_address(group.coordinator)
    place = f"{group.coordinator}{'' if group.host else f', which is {address} here'}"
    tell(f"Host {group.host} waits for {group.num_hosts} hosts at {place}.")
    with _last_words(
        f"Error: host {group.host} of {group.num_hosts} ended: not all hosts came to "
        f"{group.coordinator} within {JOINING_S} s, or one of them died. Check that all can reach "
        f"this address, and that each has its own --host-id and the same --num-hosts. {START_AGAIN}"
    ):
        try:
            _join(jax, group, address)
            yield
            jax.distributed.shutdown()
        except EndedTogether:
            jax.distributed.shutdown()  # Waits for the other hosts, which end as well.
            raise
        except jax.errors.JaxRuntimeError as error:
            _end_without_goodbye(1)
            raise InputError(
                f"Host {group.host} of {group.num_hosts} cannot continue. Perhaps another host has "
                f"ended: {shortened(error)}. {START_AGAIN}"
            ) from error
        except BaseException as error:
            _end_without_goodbye(130 if isinstance(error, KeyboardInterrupt) else 1)
            raise


def listening_address(coordinator):
    """Returns the one address, "ip:port", that host 0 listens at. JAX would listen at all."""
    name, port = coordinator.rsplit(":", 1)
    try:
        found = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, *_, (ip, *_) = found[0]
        # JAX would end the process without a word.
        socket.create_server((ip, int(port)), family=family).close()
    except OSError as error:
        raise InputError(
            f"Host 0 cannot listen at --coordinator {coordinator}: {error.strerror}. Give a name "
            "or an IP address of host 0 that all hosts can reach, and a free port."
        ) from error
    return f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}"


def _join(jax, group, address):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would handle SIGTERM itself; here, hosts agree to end after each step.
    jax.config.update("jax_enable_preemption_service", False)
    # In a thread: in the main thread, JAX would hold up Ctrl-C and SIGTERM.
    joined = Future()

    def join():
        try:
            jax.distributed.initialize(
                group.coordinator,
                group.num_hosts,
                group.host,
                cluster_detection_method="deactivate",
                initialization_timeout=JOINING_S,
                heartbeat_timeout_seconds=ALIVE_S,
                coordinator_bind_address=address,
            )
            joined.set_result(None)
        except Exception as error:
            joined.set_exception(error)

    threading.Thread(target=join, daemon=True).start()
    joined.result()


@contextlib.contextmanager
def _last_words(text):
    """Prints a text on stderr if the process ends within the block: JAX aborts it, in C++."""
    program = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"
    command = [sys.executable, "-I", "-c", program, text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as teller:
        try:
            yield
        finally:
            teller.communicate(b"alive")


def _end_without_goodbye(code):
    """Makes the exit immediate: JAX would wait for hosts that wait for this one."""
    atexit.register(os._exit, code)
    atexit.register(sys.stdout.flush)  # Runs before the other.


def _first_node(environment):
    """Returns an address on the first node of a job step of Slurm, or None elsewhere."""
    nodes, job = environment.get("SLURM_STEP_NODELIST"), environment.get("SLURM_JOB_ID", "")
    if not (nodes and job.isdigit()):
        return None
    first = FIRST_NODE.match(nodes)
    return f"{first['prefix']}{first['number'] or ''}:{LOWEST_PORT + int(job) % 4096}"
