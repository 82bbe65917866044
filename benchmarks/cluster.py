"""Times extraction and prediction on a Dask cluster: two workers against one, and one that dies.

In: case folders and a network. Out: tables on stdout: patches and cases per second with one and
with two worker processes on this machine, each on a core of its own; and the seconds until a case
whose worker was killed is begun by another.

    python benchmarks/cluster.py --data-root CASES --network runs/default/best.keras
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import in_turn, print_header, print_rates
from brats.cases.find import find_cases
from brats.cluster import connecting

ROOT = Path(__file__).resolve().parent.parent
PATCHES_PER_CASE = 438


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("data/brats"))
    parser.add_argument("--network", type=Path, default=Path("runs/default/best.keras"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--predicted-cases", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; default: TMPDIR")
    options = parser.parse_args()
    print_header("Cluster", options, "h5py", "SimpleITK", "dask", "distributed")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        clusters = {}
        try:
            for number in (1, 2):
                clusters[number] = start_cluster(Path(folder), number)
            print_speeds(options, Path(folder))
            print_recovery(Path(folder), clusters[2], options.runs)
        finally:
            for processes in clusters.values():
                end(processes)


def start_cluster(folder, num_workers):
    """Starts a scheduler and workers of one thread, each on its core; returns the processes."""
    path = address(folder, num_workers)
    local = ("--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1")
    processes = [start("scheduler", "--port", "0", *local, "--scheduler-file", path)]
    while not path.exists():
        time.sleep(0.1)
    flags = ("--scheduler-file", path, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    for core in range(num_workers):
        place = ("--local-directory", folder / "workers")
        processes.append(start("worker", *flags, *place, core=core % os.cpu_count()))
    with connecting(str(path)) as cluster:
        while cluster.count_threads() < num_workers:
            time.sleep(0.1)
    return processes


def end(processes):
    """Ends the processes of a cluster."""
    for process in processes:
        process.kill()
        process.wait()


def address(folder, num_workers):
    """Returns the path of the file of the scheduler that has so many workers."""
    return folder / f"scheduler{num_workers}.json"


def start(*command, core=None):
    """Starts a command of Dask, on one core if asked for."""
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
    )


def print_speeds(options, folder):
    """Prints how fast one and two workers, and this machine without a cluster, are."""
    cases = find_cases(options.data_root, need_segmentation=True)
    root = ("--data-root", options.data_root)
    extraction = ("extract_patches.py", *root, "--output", folder / "patches.h5", "--overwrite")
    print_rates(
        "patches/s of the extraction",
        len(cases) * PATCHES_PER_CASE,
        in_turn(commands(extraction, folder, folder), options.runs),
    )
    (folder / "patches.h5").unlink()
    chosen = cases[: options.predicted_cases]
    prediction = ("predict.py", *root, "--output", folder / "predictions", "--weights")
    prediction += (options.network, "--overwrite", "--cases", *(case.id for case in chosen))
    calls = commands(prediction, folder, folder / "predictions")
    in_turn(calls, 1)  # Workers keep Keras and the network.
    print_rates("cases/s of the prediction", len(chosen), in_turn(calls, options.runs))


def commands(command, folder, output):
    """Returns functions that run a command with one worker, with two, and without a cluster."""

    def run(*more):
        arguments = [sys.executable, *map(str, (*command, *more))]
        subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
        if output != folder:
            shutil.rmtree(output)

    return {
        "one worker": lambda: run("--scheduler", address(folder, 1)),
        "two workers": lambda: run("--scheduler", address(folder, 2)),
        "no cluster": run,
    }


def hold(path):
    """Notes who has begun a case and when, in a worker, and takes a second over it."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")
    time.sleep(1)


def describe_nothing():
    """Returns no facts that workers have to share."""
    return {}


def print_recovery(folder, processes, num_runs):
    """Prints how long a case whose worker was killed waits until another worker begins it."""
    import benchmarks.cluster as here  # Workers cannot import a script's functions as its own.

    elapsed_s = []
    for number in range(num_runs):
        path = folder / f"{number}.txt"
        with (
            connecting(str(address(folder, 2))) as cluster,
            cluster.sharing(folder, [], "benchmarks.cluster:describe_nothing"),
        ):
            killed_s = []

            def kill(path=path, killed_s=killed_s):
                if path.exists() and path.stat().st_size and not killed_s:
                    os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
                    killed_s.append(time.time())

            list(cluster.in_order(here.hold, {"case": path}, kill))
        begun_s = float(path.read_text().splitlines()[1].split()[1])
        elapsed_s.append(begun_s - killed_s[0])
        flags = ("--scheduler-file", address(folder, 2), "--nthreads", "1", "--no-nanny")
        place = ("--local-directory", folder / "workers")
        processes.append(start("worker", *flags, *place, "--no-dashboard"))
        with connecting(str(address(folder, 2))) as cluster:
            while cluster.count_threads() < 2:
                time.sleep(0.1)
    median, least, most = statistics.median(elapsed_s), min(elapsed_s), max(elapsed_s)
    print(f"{'s from kill to new begin':<34}{median:10.3f}{least:10.3f}{most:10.3f}")


if __name__ == "__main__":
    main()
