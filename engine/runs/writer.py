"""Everything that a run writes while it trains: states, networks, history, and a log if asked.

In: a compiled network, and its progress step by step. Out: the files of `engine.runs.folder`,
`engine.runs.state` and `engine.runs.logs`. Only the first host writes.
"""

import time
from pathlib import Path

from engine.devices.hosts import EndedTogether
from engine.runs import folder as runs
from engine.runs.logs import TrainingLog
from engine.runs.state import STATE, write_state

MAX_SHARE = 0.01  # Of the training time, spent on writing states.
MIN_INTERVAL_S = 60


class RunWriter:
    """Writes the folder of a run.

    Args:
        run_dir: Run folder.
        model: The compiled network in training.
        every: Steps between two states, int. None writes a state at most once a minute, and less
            often if that would take more than 1 % of the time.
        is_interrupted: Function without arguments that returns whether the run has to end, from
            `brats.script.deferring_interruption`.
        writes: Whether this host writes. Other hosts only end when the run has to end.
    """

    def __init__(self, run_dir, model, every, is_interrupted, writes):
        self._run_dir, self._model, self._every = run_dir, model, every
        self._is_interrupted, self._writes = is_interrupted, writes
        self._log = None
        self._elapsed_s = 0.0  # Spent on writing since the epoch before.
        self._next_s = time.perf_counter() + MIN_INTERVAL_S

    def begin(self, record, progress, resume):
        """Prepares the folder for training.

        Args:
            record: Dict of `engine.runs.folder.write_record`.
            progress: `engine.runs.state.Progress` of the run.
            resume: Whether the run is resumed. If not, the files of an earlier run are removed.
        """
        if not self._writes:
            return
        if resume:
            runs.add_to_record(self._run_dir, len(progress.history), progress.step, record)
        else:
            runs.clear(self._run_dir)
            self._write_state(progress)
            runs.write_record(self._run_dir, record)

    def begin_log(self, progress, num_steps, predict, validation):
        """Starts or continues the log for TensorBoard; arguments as for `TrainingLog`."""
        if self._writes:
            self._log = TrainingLog(self._run_dir, progress, num_steps, predict, validation)

    def end_if_interrupted(self, progress):
        """Writes a state and ends the run, if the run has to end.

        Raises:
            EndedTogether: If the run has to end; the message says how to continue.
        """
        if self._is_interrupted():
            self._write_state(progress)
            raise EndedTogether(
                f"The state after {progress} is in {Path(self._run_dir, STATE)}. To continue, run "
                "the same command with --resume."
            )

    def end_step(self, progress, loss):
        """Logs the loss of a step, ends as `end_if_interrupted`, and writes a state when due."""
        if self._log:
            self._log.add_step(progress, loss)
        self.end_if_interrupted(progress)
        is_due = time.perf_counter() >= self._next_s
        if progress.step % self._every == 0 if self._every else is_due:
            self._write_state(progress)

    def end_epoch(self, progress):
        """Writes the files of the epoch that is the last of the history.

        Returns:
            The seconds spent on writing since the epoch before, a float.
        """
        if not self._writes:
            return 0.0
        if self._log:
            self._log.add_epoch(progress.history[-1])
        # First the state, as a resumed run writes the other files again.
        self._write_state(progress)
        start = time.perf_counter()
        runs.write_epoch(self._run_dir, self._model, progress.history)
        elapsed_s, self._elapsed_s = self._elapsed_s, 0.0
        return time.perf_counter() - start + elapsed_s

    def _write_state(self, progress):
        if not self._writes:
            return
        start = time.perf_counter()
        write_state(self._run_dir, self._model, progress)
        end = time.perf_counter()
        self._elapsed_s += end - start
        self._next_s = end + max(MIN_INTERVAL_S, (end - start) / MAX_SHARE)
