"""The weighted class-imbalance loss and the soft Dice metrics.

In: class indices `(N, H, W)` (one-hot `(N, H, W, C)` for the two functions) and softmax
probabilities `(N, H, W, C)`. Out: one loss per example, or one overlap per region. All sums are
float32 and run over the complete batch.

Reference: Kermi, Mahmoudi, Khadir, BrainLes 2018, and its implementation; Sudre et al.,
"Generalised Dice overlap as a deep learning loss function for highly unbalanced segmentations",
DLMIA 2017.
"""

import keras
from keras import ops

EPSILON = 1e-7
PUBLISHED_CLASS_WEIGHTS = (1.0, 5.0, 2.0, 4.0)  # normal, necrosis, edema, enhancing
# Whether classes that are absent from the batch are left out of the Dice term, by name of the loss.
LOSSES = {"published": False, "present-classes": True}


def weighted_cross_entropy(one_hot, probabilities, class_weights=PUBLISHED_CLASS_WEIGHTS):
    """Returns the cross entropy of every example, with a weight for each class.

    Formula:

        p'  = clip(p / sum_c p, eps, 1 - eps)
        wce = mean over pixels of -sum_c w_c y_c log p'_c

    Args:
        one_hot: Reference, 0 or 1, shape `(N, H, W, C)`, any float dtype.
        probabilities: Softmax output, shape `(N, H, W, C)`, any float dtype.
        class_weights: One weight per class.

    Returns:
        float32 tensor `(N,)`.
    """
    one_hot, probabilities = _as_float32(one_hot, probabilities)
    probabilities = probabilities / ops.sum(probabilities, axis=-1, keepdims=True)
    probabilities = ops.clip(probabilities, EPSILON, 1.0 - EPSILON)
    weights = ops.convert_to_tensor(class_weights, dtype="float32")
    per_pixel = -ops.sum(weights * one_hot * ops.log(probabilities), axis=-1)  # (N, H, W)
    return ops.mean(per_pixel, axis=(1, 2))


def generalized_dice_loss(
    one_hot, probabilities, leave_out_absent=False, sum_over_devices=lambda sums: sums
):
    """Returns one minus the generalized Dice overlap of the complete batch.

    Formula:

        v_c = 1 / ((sum y_c)^2 + eps)
        gdl = 1 - 2 sum_c v_c sum(y_c p_c) / sum_c v_c (sum y_c + sum p_c)

    A class that is absent from the batch gets v = 1e7, which outweighs all others: the loss is then
    1 for good and bad predictions alike. With `leave_out_absent`, v is 0 for such a class.

    Args:
        one_hot: Reference, 0 or 1, shape `(N, H, W, C)`, any float dtype.
        probabilities: Softmax output, shape `(N, H, W, C)`, any float dtype.
        leave_out_absent: Whether to leave out classes that are absent from the batch.
        sum_over_devices: Function from a list of sums over one device's examples to the sums over
            the complete batch.

    Returns:
        float32 scalar tensor.
    """
    one_hot, probabilities = _as_float32(one_hot, probabilities)
    sums = [
        ops.sum(tensor, axis=(0, 1, 2))
        for tensor in (one_hot, probabilities, one_hot * probabilities)
    ]
    size, predicted, overlap = sum_over_devices(sums)  # (C,) each
    weights = 1.0 / (size * size + EPSILON)
    if leave_out_absent:
        weights = ops.where(size > 0, weights, 0.0)
    return 1.0 - 2.0 * ops.sum(weights * overlap) / ops.sum(weights * (size + predicted))


def build_loss(name, class_weights=PUBLISHED_CLASS_WEIGHTS):
    """Returns a `ClassImbalanceLoss`.

    Args:
        name: One of `LOSSES`.
        class_weights: Weights of the cross entropy, one per class.
    """
    return ClassImbalanceLoss(class_weights, leave_out_absent=LOSSES[name])


@keras.saving.register_keras_serializable(package="brats")
class ClassImbalanceLoss(keras.losses.Loss):
    """Weighted cross entropy plus generalized Dice loss, from class indices.

    It returns one value per example, so that averages over examples and over devices are right. The
    Dice term is that of the batch, so it is the same in each.

    Attributes:
        sum_over_devices: As for `generalized_dice_loss`; set if devices share a batch.

    Args:
        class_weights: Weights of the cross entropy, one per class.
        leave_out_absent: As for `generalized_dice_loss`; False is the published loss.
        name, **kwargs: As for `keras.losses.Loss`.
    """

    def __init__(
        self,
        class_weights=PUBLISHED_CLASS_WEIGHTS,
        leave_out_absent=False,
        name="class_imbalance",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.class_weights = tuple(class_weights)
        self.leave_out_absent = leave_out_absent
        self.sum_over_devices = lambda sums: sums

    def call(self, y_true, y_pred):
        """Returns losses `(N,)` of classes `(N, H, W)` and probabilities `(N, H, W, C)`."""
        one_hot = ops.one_hot(ops.cast(y_true, "int32"), len(self.class_weights))
        return weighted_cross_entropy(one_hot, y_pred, self.class_weights) + generalized_dice_loss(
            one_hot, y_pred, self.leave_out_absent, self.sum_over_devices
        )

    def get_config(self):
        """Returns the arguments of the constructor."""
        settings = {"class_weights": self.class_weights, "leave_out_absent": self.leave_out_absent}
        return super().get_config() | settings


@keras.saving.register_keras_serializable(package="brats")
class SoftDice(keras.metrics.Metric):
    """Soft Dice overlap of a region, over all batches since the last reset.

    Departure: the original averages the overlaps of batches; here the sums run over all batches.

    Formula, with `y` and `p` summed over the classes of the region:

        dice = (2 sum(y p) + eps) / (sum y + sum p + eps)

    Args:
        classes: Class indices that make up the region, such as `(1, 3)`.
        name, **kwargs: As for `keras.metrics.Metric`.
    """

    def __init__(self, classes, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = tuple(classes)
        self.overlap = self.add_weight(name="overlap", initializer="zeros", dtype="float32")
        self.total = self.add_weight(name="total", initializer="zeros", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch: classes `(N, H, W)`, probabilities `(N, H, W, C)`."""
        y_true = ops.cast(y_true, "int32")
        y_pred = ops.cast(y_pred, "float32")
        reference = sum(ops.cast(ops.equal(y_true, c), "float32") for c in self.classes)
        predicted = sum(y_pred[..., c] for c in self.classes)
        self.overlap.assign_add(ops.sum(reference * predicted))
        self.total.assign_add(ops.sum(reference) + ops.sum(predicted))

    def result(self):
        """Returns the overlap, a float32 scalar; 1 if reference and prediction are empty."""
        return (2.0 * self.overlap + EPSILON) / (self.total + EPSILON)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return super().get_config() | {"classes": self.classes}


def _as_float32(*tensors):
    return [ops.cast(tensor, "float32") for tensor in tensors]
