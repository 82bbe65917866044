"""Learning rates and optimizers by name.

In: settings and the number of steps. Out: Keras objects. A schedule is a pure function of the
optimizer's step, so a resumed run continues with the same rates.
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
        return {name: getattr(self, name) for name in ("initial_rate", "steps_per_epoch", "decay")}


# Functions of the learning rate at compile time, the steps in an epoch, and those in all epochs.
SCHEDULES = {
    "published": lambda rate, steps, all_steps: PublishedSchedule(rate, steps),
    "constant": lambda rate, steps, all_steps: rate,
    # It falls to 0 at the end of the last epoch.
    "cosine": lambda rate, steps, all_steps: keras.optimizers.schedules.CosineDecay(
        rate, all_steps
    ),
}
# Functions of a learning rate or a schedule, and of the momentum.
OPTIMIZERS = {
    "sgd": lambda rate, momentum: keras.optimizers.SGD(rate, momentum=momentum),
    "adam": lambda rate, momentum: keras.optimizers.Adam(rate, beta_1=momentum),
}


def build_schedule(name, initial_rate, epochs, steps_per_epoch):
    """Returns a learning rate from `SCHEDULES`: a Keras schedule, or a float if it is constant."""
    return SCHEDULES[name](initial_rate, steps_per_epoch, epochs * steps_per_epoch)


def build_optimizer(name, learning_rate, momentum):
    """Returns a Keras optimizer from `OPTIMIZERS`. The learning rate may be a schedule."""
    return OPTIMIZERS[name](learning_rate, momentum)
