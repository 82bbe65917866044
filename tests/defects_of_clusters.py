"""Defects of the clusters that cases are sent to. See defects.py."""

import contextlib
import json
import socket
import sys
import threading

from tests.defects import EXTRACT, OUTPUT, PREDICT, Defect

DEFECTS = []
COMMAND = (*EXTRACT[:-2], "--patches-per-case", "4", "--scheduler")  # Without --workers.


def cluster_defect(title, address, names=None, command=COMMAND):
    """Declares the decorated function, which spoils a cluster, as a defect."""

    def declare(spoil):
        command_line = (*command, address)
        DEFECTS.append(Defect("Clusters", title, command_line, names or address, spoil))
        return spoil

    return declare


@cluster_defect("Dask is not installed", "local", "requirements-cluster.txt")
@contextlib.contextmanager
def _():
    before = sys.modules.pop("distributed", None)
    sys.modules["distributed"] = None  # As Python marks what cannot be imported.
    try:
        yield
    finally:
        del sys.modules["distributed"]
        if before:
            sys.modules["distributed"] = before


@cluster_defect("no scheduler at the address", "tcp://127.0.0.1:1")
def _():
    pass


@cluster_defect(
    "another program at the address",
    "tcp://127.0.0.1:17786",
    command=(*PREDICT, "--cases", "BraTS2021_00002", "--scheduler"),
)
@contextlib.contextmanager
def _():
    with socket.create_server(("127.0.0.1", 17786)) as server:
        stopped = threading.Event()

        def answer():
            while not stopped.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        server.settimeout(0.2)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


@cluster_defect("a scheduler's file that is not there", "scheduler.json")
def _():
    pass


@cluster_defect("a file that is none of a scheduler", "other.json")
def _():
    OUTPUT.with_name("other.json").write_text(json.dumps({"workers": {}}))
