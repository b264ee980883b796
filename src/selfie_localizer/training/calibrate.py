"""Makes the score of a trained localizer the IoU that it should be, on images that it was not trained on."""

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from selfie_localizer import boxes
from selfie_localizer.dataset.store import Store

SCORE_LAYER = "head_score"
BATCH = 64
# A slope near 0 would give every image the same score; a steep one is the noise of a few images.
SLOPES = (0.2, 5.0)
# What a slope of 1 and no shift weigh against the images: about as much as this many of them.
PRIOR_IMAGES = 10


def calibrate(
    model: keras.Model, store: Store, faces: NDArray[np.int64], negatives: NDArray[np.int64]
) -> tuple[float, float]:
    """Changes the last layer of the score so that scores agree with the IoU reached on some images.

    Images without a face belong to them: nothing can be reached there, and without them a map that lifts the scores of
    hard faces lifts those of empty scenes as well. Each image counts once, so that they weigh as they are.

    The new score is sigmoid(slope x logit(score) + shift) with the least squared error (as in Platt, "Probabilistic
    outputs for support vector machines", 1999, with the IoU in place of the class). Its order stays as it was.

    Args:
        model: As `localizer.build` returns it; its weights change.
        store: The images.
        faces: Positions of labelled images that the model was not trained on.
        negatives: Positions of images without a face that it was not trained on; may be empty.

    Returns:
        Slope and shift.
    """
    rows = np.concatenate([faces, negatives])
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    output = np.concatenate([np.asarray(model.predict_on_batch(store.images[part])) for part in parts])
    reached = np.zeros(len(rows))
    reached[: len(faces)] = boxes.iou(output[: len(faces), :4], store.boxes[faces])
    slope, shift = fit_map(output[:, 4].astype(np.float64), reached)
    layer = model.get_layer(SCORE_LAYER)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * np.float32(slope), bias * np.float32(slope) + np.float32(shift)])
    return slope, shift


def fit_map(score: NDArray[np.float64], reached: NDArray[np.float64]) -> tuple[float, float]:
    """Returns slope and shift of the map from scores to expected IoU, both of shape (N,)."""
    x = logit(np.clip(score, 1e-4, 1 - 1e-4))
    prior = PRIOR_IMAGES / max(len(x), 1)

    def error(values: NDArray[np.float64]) -> float:
        slope, shift = values
        loss = np.mean((expit(slope * x + shift) - reached) ** 2)
        # An IoU is off by about 0.1, so that its square is the unit of the prior as well.
        return float(loss + 0.01 * prior * ((slope - 1) ** 2 + shift**2))

    found = minimize(error, np.array([1.0, 0.0]), bounds=[SLOPES, (-10.0, 10.0)], method="L-BFGS-B").x
    return float(found[0]), float(found[1])
