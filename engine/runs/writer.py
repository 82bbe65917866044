"""What a run leaves in its folder while it trains: states, networks, history, and a log if asked.

In: a compiled network, and its progress step by step. Out: the files of `engine.runs.folder`,
`engine.runs.state` and `engine.runs.logs`, written by the first host alone.
"""

import time

from engine.runs import folder as runs
from engine.runs.logs import TrainingLog
from engine.runs.state import StateWriter


class RunWriter:
    """Writes the folder of a run.

    Args:
        run_dir: Run folder.
        model: The compiled network in training.
        every: Steps between two states, as for `StateWriter`.
        is_interrupted: Whether the run is to end, as for `StateWriter`.
        writes: Whether this host writes; on another, the run only ends when it is to.
    """

    def __init__(self, run_dir, model, every, is_interrupted, writes):
        self._run_dir, self._model, self._writes = run_dir, model, writes
        self._states = StateWriter(run_dir, model, every, is_interrupted, writes)
        self._log = None

    def begin(self, record, progress, resume):
        """Brings the folder to where training starts.

        Args:
            record: Dict as of `engine.runs.folder.write_record`.
            progress: `engine.runs.state.Progress` of the run.
            resume: Whether the run goes on; otherwise what is there of another is removed.
        """
        if not self._writes:
            return
        if resume:
            runs.add_to_record(self._run_dir, len(progress.history), progress.step, record)
        else:
            runs.clear(self._run_dir)
            self._states.write(progress)
            runs.write_record(self._run_dir, record)

    def begin_log(self, progress, num_steps, predict, validation):
        """Begins a log for TensorBoard, or goes on with it; arguments as for `TrainingLog`."""
        if self._writes:
            self._log = TrainingLog(self._run_dir, progress, num_steps, predict, validation)

    def end_if_interrupted(self, progress):
        """Ends the run with a state if it is to end, see `StateWriter`."""
        self._states.end_if_interrupted(progress)

    def end_step(self, progress, loss):
        """Takes up the loss of a step, and writes a state if it is time to.

        Raises:
            EndedTogether: If the run is to end, once the state is written.
        """
        if self._log:
            self._log.add_step(progress, loss)
        self._states.keep(progress)

    def end_epoch(self, progress):
        """Writes what an epoch leaves, the last of the history.

        Returns:
            The seconds spent on writing since the epoch before, a float.
        """
        if not self._writes:
            return 0.0
        if self._log:
            self._log.add_epoch(progress.history[-1])
        # Before the files that follow from it, which a resumed run writes again.
        self._states.write(progress)
        start = time.perf_counter()
        runs.write_epoch(self._run_dir, self._model, progress.history)
        return time.perf_counter() - start + self._states.lap()
