"""Learning rates as functions of the optimizer's step, the published one first.

In: settings and the number of steps. Out: a Keras schedule, a pure function of the step, so that
a resumed run goes on where it was.
"""

import keras
from keras import ops

PUBLISHED_DECAY = 5e-6  # At compile time, before the first epoch multiplies it by 10.


@keras.saving.register_keras_serializable(package="brats")
class PublishedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The original's rates: divided by 10 at the start of every epoch, the first included.

    Formula, in epoch e = 1, 2, 3, ... and at step s, counted from 0 over all epochs:

        rate = initial / 10^e / (1 + decay 10^e s)

    Args:
        initial_rate: Learning rate at compile time.
        steps_per_epoch: Optimizer steps in an epoch.
        decay: Decay at compile time.

    Reference:
        Keras 2, `optimizers.py`, class SGD: `lr *= 1 / (1 + decay * iterations)`.
    """

    def __init__(self, initial_rate, steps_per_epoch, decay=PUBLISHED_DECAY):
        super().__init__()
        self.initial_rate = initial_rate
        self.steps_per_epoch = steps_per_epoch
        self.decay = decay

    def __call__(self, step):
        """Returns the rate at a step, a float32 scalar tensor."""
        epoch = ops.cast(ops.floor_divide(step, self.steps_per_epoch), "float32") + 1.0
        power = ops.power(10.0, epoch)
        step = ops.cast(step, "float32")
        return self.initial_rate / power / (1.0 + self.decay * power * step)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {
            "initial_rate": self.initial_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "decay": self.decay,
        }


def build_schedule(name, initial_rate, epochs, steps_per_epoch):
    """Builds a learning rate by name.

    Args:
        name: "published"; "constant"; or "cosine", half a cosine from the initial rate to 0 at
            the end of the last epoch.
        initial_rate: Learning rate at compile time, float.
        epochs: Number of epochs.
        steps_per_epoch: Optimizer steps in an epoch.

    Returns:
        A Keras schedule, or a float for "constant".

    Raises:
        ValueError: If there is no schedule of that name.
    """
    if name == "published":
        return PublishedSchedule(initial_rate, steps_per_epoch)
    if name == "constant":
        return initial_rate
    if name == "cosine":
        return keras.optimizers.schedules.CosineDecay(initial_rate, epochs * steps_per_epoch)
    raise ValueError(f"No schedule is called {name}; expected published, constant or cosine.")


def build_optimizer(name, learning_rate, momentum):
    """Builds "sgd", gradient descent with momentum, or "adam", whose beta 1 is the momentum."""
    if name == "adam":
        return keras.optimizers.Adam(learning_rate, beta_1=momentum)
    return keras.optimizers.SGD(learning_rate, momentum=momentum)
