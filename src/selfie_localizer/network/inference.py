"""A trained localizer as everything but training uses it: in float32, whatever precision it was trained in.

Importing this module registers all that a saved localizer needs, so that Keras loads one in safe mode.
"""

from pathlib import Path

import keras

from selfie_localizer.errors import UserError

# What a saved localizer is made of must be known to Keras, which then loads it in safe mode.
from selfie_localizer.network import layers, losses, metrics  # noqa: F401

_SHORT = ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16")


def load(path: Path) -> keras.Model:
    """Loads a `.keras` file for prediction.

    Weights are float32 in every precision of training, so nothing is lost. In bfloat16 a box would be off by up to a
    pixel, would take longer on a CPU without AMX, and could not become ONNX.

    Returns:
        The model, uncompiled, computing in float32: see `localizer.build`.

    Raises:
        UserError: The file is missing, damaged, or not a model that Keras knows.
    """
    try:
        model = keras.models.load_model(path, compile=False)
        config = model.to_json()
        if all(f'"{name}"' not in config for name in _SHORT):
            return model
        for name in _SHORT:
            config = config.replace(f'"{name}"', '"float32"')
        full = keras.models.model_from_json(config)
        full.set_weights(model.get_weights())
    except (OSError, ValueError, TypeError, KeyError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UserError(f"{path}: cannot be loaded ({line}); train it again") from None
    return full
