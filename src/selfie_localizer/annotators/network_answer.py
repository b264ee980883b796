"""A localizer's answer as an annotator gives it."""

import numpy as np

from selfie_localizer import boxes
from selfie_localizer.network import second_look
from selfie_localizer.network.onnx_file import Network
from selfie_localizer.photos.decode import Pixels, resize


def answer(
    network: Network, image_size: int, pixels: Pixels, looks_again: bool = False
) -> tuple[boxes.Boxes, float] | None:
    """Asks a network where the face is on a picture.

    Args:
        network: A localizer.
        image_size: Side of its square images in pixels.
        pixels: RGB, uint8, shape (height, width, 3).
        looks_again: Whether it is asked once more about a crop around its first answer.

    Returns:
        The box in pixels of the picture, clipped to it, float64, shape (4,), and the score; None where the network
        comes to no finite number, as it may on some picture of the world.
    """
    found = network(resize(pixels, image_size)[None]).astype(np.float64)
    if looks_again:
        found = second_look.look_again(network, found, [second_look.copy_for(pixels)], image_size)
    numbers = found[0]
    if not np.isfinite(numbers).all():
        return None
    height, width = pixels.shape[:2]
    return boxes.clip(boxes.scale(numbers[:4], width, height), width, height), float(np.clip(numbers[4], 0, 1))
