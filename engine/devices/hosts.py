"""Training on several hosts: how they find each other, and how all end when one does.

In: flags, or the variables of Slurm or Open MPI. Out: processes that JAX has joined, for
`engine.devices.one` to spread batches over.
"""

import atexit
import contextlib
import functools
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass

import keras

from brats.errors import InputError, shortened
from engine.runs.state import EndedTogether

# Number of processes, and which of them this is, counted from 0: set for each process of
# `srun` and `mpirun`, and not in a batch script around them.
VARIABLES = {
    # First: it starts its processes by srun, whose variables they inherit.
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "Slurm": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
}
FIRST_NODE = re.compile(r"(?P<prefix>[^,\[]+)(\[(?P<number>\d+))?")  # Of node[001-004,007],other.
LOWEST_PORT = 61440  # In the range that is left to programs; the jobs' ports are 4096 from here.
START_AGAIN = (
    "The messages of the others say why. Start all again, with --resume if the run folder holds a "
    "config.json, on as many hosts as you like."
)
ALIVE_S = 30  # A host that gives no sign of life for so long is taken for dead.
JOINING_S = 300
POLL_S = 0.1


@dataclass(frozen=True)
class Group:
    """Hosts that train together, or one alone.

    Attributes:
        coordinator: Address of host 0, "name:port"; None for one alone.
        num_hosts: How many there are, int.
        host: Which of them this is, int.
    """

    coordinator: str | None
    num_hosts: int
    host: int


def find_group(coordinator, num_hosts, host, environment):
    """Finds the hosts to train with, by flags or else by the variables of a job.

    Args:
        coordinator: Address of host 0, "name:port", or None.
        num_hosts: How many hosts there are, int, or None.
        host: Which of them this is, int, or None.
        environment: Dict of variables, such as `os.environ`.

    Returns:
        A `Group`.

    Raises:
        InputError: If what is given is not enough, or does not fit together.
    """
    is_asked = not (coordinator is num_hosts is host is None)
    for size, rank in VARIABLES.values():
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
            f"Training on several hosts lacks {' and '.join(missing)}, which no variable of Slurm "
            "or Open MPI gives. Give all three flags on every host, such as --coordinator "
            "node1:61000 --num-hosts 2 --host-id 0."
        )
    if host >= num_hosts:
        raise InputError(
            f"--host-id is {host} of --num-hosts {num_hosts}; hosts are counted from 0 to "
            f"{num_hosts - 1}."
        )
    return Group(coordinator, num_hosts, host)


@contextlib.contextmanager
def joining(group, tell=lambda text: None):
    """Joins the hosts of a group for the length of the block; before anything runs on a device.

    If the block fails on a host, or the host dies, the others fail within a minute.

    Args:
        group: A `Group`; nothing is done for one host.
        tell: Function of a sentence for who waits.

    Raises:
        InputError: If the backend is not JAX, hosts are missing, or one has ended.
    """
    if group.num_hosts == 1:
        yield
        return
    _check_backend(group.num_hosts)
    import jax

    try:
        tell(f"Host {group.host} waits for {group.num_hosts} hosts at {group.coordinator}.")
        with _last_words(
            f"Error: host {group.host} of {group.num_hosts} was ended while it waited for the "
            f"others, which it does for {JOINING_S} s. Check that --coordinator "
            f"{group.coordinator} is a free port of host 0 that all can reach, and that each host "
            "has a --host-id of its own and the same --num-hosts; alone, that is 1."
        ):
            _join(jax, group)
        with (
            _last_words(
                f"Error: host {group.host} of {group.num_hosts} was ended: another host gave no "
                f"sign of life, or this one was killed. {START_AGAIN}"
            ),
            _leaving_together(jax),
        ):
            yield
    except EndedTogether:
        raise
    except jax.errors.JaxRuntimeError as error:
        _end_without_goodbye(1)
        raise InputError(
            f"Host {group.host} of {group.num_hosts} cannot go on, as when another has ended: "
            f"{shortened(error)}. {START_AGAIN}"
        ) from error
    except BaseException as error:
        _end_without_goodbye(130 if isinstance(error, KeyboardInterrupt) else 1)
        raise


def _check_backend(num_hosts):
    if keras.backend.backend() != "jax":
        raise InputError(
            f"KERAS_BACKEND is {keras.backend.backend()}, and training on {num_hosts} hosts runs "
            "under jax only. Set KERAS_BACKEND=jax, after pip install -r requirements/jax.txt, or "
            "train on one host with --num-hosts 1."
        )


@contextlib.contextmanager
def _leaving_together(jax):
    """Waits for the other hosts after the block, also if all have agreed to end it."""
    try:
        yield
    except EndedTogether:
        jax.distributed.shutdown()
        raise
    jax.distributed.shutdown()


def _join(jax, group):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM for itself; hosts agree to end after each step.
    jax.config.update("jax_enable_preemption_service", False)
    # In a thread: in this one, JAX would keep Ctrl-C and SIGTERM waiting.
    join = functools.partial(
        jax.distributed.initialize,
        group.coordinator,
        group.num_hosts,
        group.host,
        cluster_detection_method="deactivate",
        initialization_timeout=JOINING_S,
        heartbeat_timeout_seconds=ALIVE_S,
    )
    errors = []

    def note_error():
        try:
            join()
        except Exception as error:  # Raised again, where it belongs.
            errors.append(error)

    thread = threading.Thread(target=note_error, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _last_words(text):
    """Tells a text on stderr if the process ends within the block: JAX aborts it, in C++."""
    program = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"
    command = [sys.executable, "-I", "-c", program, text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as teller:
        try:
            yield
        finally:
            teller.communicate(b"alive")


def _end_without_goodbye(code):
    """Lets the process end as soon as it wants to: JAX would wait for hosts that wait for it."""

    def end():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(end)


def _first_node(environment):
    """Returns an address on the first node of a job step of Slurm, or None elsewhere."""
    nodes, job = environment.get("SLURM_STEP_NODELIST"), environment.get("SLURM_JOB_ID", "")
    if not (nodes and job.isdigit()):
        return None
    first = FIRST_NODE.match(nodes)
    return f"{first['prefix']}{first['number'] or ''}:{LOWEST_PORT + int(job) % 4096}"
