"""Whether a worker of a cluster can do the work of a run: its disk, its code, its packages.

In: what the run needs. Out, in the worker: a sentence on what is missing, if anything is.
"""

import asyncio
import functools
import hashlib
import json
import os
import pkgutil
from dataclasses import dataclass
from pathlib import Path

from brats.errors import describe_error

ROOT = Path(__file__).parents[1]
fit_for = set()  # Runs that this process has been found fit for, if it is a worker.


@dataclass(frozen=True)
class Needs:
    """What a worker has to have, to do the work of a run.

    Attributes:
        run: What tells the run from others, text.
        code: Digest of this repository's code.
        facts_of: Name of the function that tells what else has to be alike, such as
            "brats.provenance:software".
        facts: Dict that it returns here.
        token: Path of a file in the folder that is written to; its content is `run`.
        files: Dict of sizes of files that are read, by path.
    """

    run: str
    code: str
    facts_of: str
    facts: dict
    token: str
    files: dict


def find_misfit(needs):
    """Returns what this worker lacks to do the work of a run, the end of a sentence about it.

    Args:
        needs: Dict of the attributes of a `Needs`.

    Returns:
        Text, empty if nothing is missing.
    """
    if needs["run"] in fit_for:
        return ""
    try:
        problem = _find_other_disk(needs) or _find_other_software(needs)
    except OSError as error:
        return f"cannot be used: {describe_error(error)}"
    if not problem:
        fit_for.add(needs["run"])
    return problem


def _find_other_disk(needs):
    token, advice = Path(needs["token"]), "Workers have to see the same disk"
    if not token.exists() or token.read_text() != needs["run"]:
        return f"does not see {token.parent} as it is here. {advice}."
    if not os.access(token.parent, os.W_OK | os.X_OK):
        return f"may not write to {token.parent}. {advice}, and may write there."
    for path, size in needs["files"].items():
        if not Path(path).exists() or Path(path).stat().st_size != size:
            return f"does not see {path} as it is here. {advice}."
    return ""


def _find_other_software(needs):
    if needs["code"] != digest_code():
        return f"runs other code in {ROOT} than is here. Start it again, with this repository."
    facts = pkgutil.resolve_name(needs["facts_of"])()
    for name, expected in needs["facts"].items():
        if facts.get(name) != expected:
            return f"has {name} {json.dumps(facts.get(name))}, not {json.dumps(expected)}, as here."
    return ""


@functools.cache  # So that a worker tells its code from what was put in its place meanwhile.
def digest_code():
    """Returns a digest of what a case's work is made of: the code in brats, engine and model.py."""
    digest = hashlib.sha256()
    for path in sorted((*ROOT.glob("brats/*.py"), *ROOT.glob("engine/*.py"), ROOT / "model.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def examining():
    """Returns `find_misfit` as it can be sent to workers that may not have this repository."""
    root = str(ROOT)

    # Dask sends what is defined in a function whole, and not by its name.
    def examine(needs):
        try:
            from brats.fitness import find_misfit
        except ImportError as error:
            return f"cannot import this repository ({error}). Start it with PYTHONPATH={root}."
        return find_misfit(needs)

    async def examine_aside(needs):
        # Keras takes seconds to import, in which the worker has to answer its scheduler.
        return await asyncio.to_thread(examine, needs)

    return examine_aside
