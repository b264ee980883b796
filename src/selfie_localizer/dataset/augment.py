"""Random changes of training images with their boxes, a whole batch at a time in TensorFlow.

All geometry is one affine map and all colour one 3 x 3 matrix for each image, so that each pixel is touched twice
however many changes there are.
"""

import math
from typing import Any

import tensorflow as tf

from selfie_localizer import params

Tensor = Any

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_DRAWS = 14
# Sides of a close window, in longer sides of the face: a second look's crop around a first answer that is a bit off.
_CLOSE = (1.3, 2.6)


def augment(images: Tensor, boxes: Tensor, settings: params.Augment, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Changes a batch; the boxes follow to the pixel and stay whole inside the image.

    Args:
        images: RGB, uint8, (B, S, S, 3).
        boxes: Relative to the image, float32, (B, 4).
        settings: The section `augment` of the parameters.
        seed: Two whole numbers, int32, (2,); equal seeds give equal results.

    Returns:
        Images and boxes of the same shapes and types.
    """
    count, side = tf.shape(images)[0], tf.shape(images)[1]
    draws = tf.unstack(tf.random.stateless_uniform((_DRAWS, count), seed), num=_DRAWS)
    # In floats, since the operation would cut off fractions of bytes.
    old, old_boxes = tf.cast(images, tf.float32), boxes
    matrix, origin, boxes = _window(boxes, settings, draws[:6], seed)
    pixels = _warp(old, matrix, origin, side)
    if settings.collage:
        pixels, boxes = _put_beside(pixels, boxes, old, old_boxes, settings.collage, seed)
    pixels = _recolour(pixels, settings, draws[6:11])
    if settings.blur:
        pixels = _blur(pixels, settings.blur, draws[11])
    if settings.cutout:
        pixels = _cut_out(pixels, settings.cutout, draws[12:14], seed)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8), boxes


def _window(
    boxes: Tensor, settings: params.Augment, draws: list[Tensor], seed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses the window of the old image that becomes the new one.

    Returns:
        The map from new to old relative coordinates, old = matrix (B, 2, 2) @ new + origin (B, 2), and the new boxes.
    """
    size, stretch, angle, shift_x, shift_y, flip = draws
    low, high = (math.log(value) for value in settings.zoom)
    zoom = tf.exp(low + (high - low) * size)
    stretch = tf.exp(settings.aspect / 2 * (2 * stretch - 1))
    turn = math.radians(settings.rotate) * (2 * angle - 1)
    cos, sin = tf.cos(turn), tf.sin(turn)
    # Old axes of the new image's unit vectors, before it is made wide enough for the face.
    columns = tf.stack([tf.stack([cos, sin], -1), tf.stack([-sin, cos], -1)], -1)
    sides = tf.stack([zoom * stretch, zoom / stretch], -1)

    old_centre, old_half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    # A face is an ellipse in its box; the box of the turned ellipse is smaller than that of the turned box.
    across = tf.sqrt(tf.reduce_sum((tf.transpose(columns, (0, 2, 1)) * old_half[:, None]) ** 2, -1))
    if settings.closeup:
        draw, factor = tf.unstack(tf.random.stateless_uniform((2, tf.shape(boxes)[0]), seed + 11), num=2)
        close = ((draw < settings.closeup) & (boxes[:, 2] > boxes[:, 0]))[:, None]
        longer = 2 * tf.reduce_max(across, -1, keepdims=True)
        sides = tf.where(
            close, longer * tf.exp(math.log(_CLOSE[0]) + factor * math.log(_CLOSE[1] / _CLOSE[0]))[:, None], sides
        )
    sides = tf.maximum(sides, 2 * across)
    half = across / sides
    matrix = columns * sides[:, None]

    mirror = tf.where(flip < settings.flip, -1.0, 1.0)
    matrix *= tf.stack([mirror, tf.ones_like(mirror)], -1)[:, None]
    shift = settings.shift * tf.stack([2 * shift_x - 1, 2 * shift_y - 1], -1)
    wanted = 0.5 + tf.linalg.solve(matrix, (old_centre - 0.5)[..., None])[..., 0] - shift
    if settings.closeup:
        wanted = tf.where(close, 0.5 - shift, wanted)
    centre = tf.clip_by_value(wanted, half, 1 - half)
    origin = old_centre - tf.linalg.matvec(matrix, centre)
    return matrix, origin, tf.concat([centre - half, centre + half], -1)


def _warp(images: Tensor, matrix: Tensor, origin: Tensor, side: Tensor) -> Tensor:
    scale = tf.cast(side, tf.float32)
    # The operation counts from pixel centres, our coordinates from the image's edge.
    shift = origin * scale + 0.5 * tf.reduce_sum(matrix, -1) - 0.5
    zero = tf.zeros_like(shift[:, 0])
    rows = [matrix[:, 0, 0], matrix[:, 0, 1], shift[:, 0], matrix[:, 1, 0], matrix[:, 1, 1], shift[:, 1], zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(rows, -1),
        output_shape=tf.stack([side, side]),
        interpolation="BILINEAR",
        # Repeating the rim looks like a photo's edge; a mirrored copy of the face would be a second one.
        fill_mode="NEAREST",
        fill_value=0.0,
    )


def _put_beside(
    pixels: Tensor, boxes: Tensor, old: Tensor, old_boxes: Tensor, probability: float, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Covers a strip beside the face by another photo of the batch with its face, as in a collage or a group.

    The strip is on the side where the face leaves more room, and cuts neither face. The box is that of the larger
    face, as in the labels of photos of several people; where neither is clearly larger, nothing is covered.

    Args:
        pixels: The changed images, float32, (B, S, S, 3).
        boxes: Their boxes.
        old: The images as they were, of which each lends its face to the next one.
        old_boxes: Their boxes.
        probability: Of a strip where there is room for one.
        seed: Of the whole batch.
    """
    count, side = tf.shape(pixels)[0], tf.shape(pixels)[1]
    draw, strip, width, x, y = tf.unstack(tf.random.stateless_uniform((5, count), seed + 7), num=5)
    other, face = tf.roll(old, 1, 0), tf.roll(old_boxes, 1, 0)
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    left = x1 > 1 - x2
    strip = tf.where(left, x1, 1 - x2) * (1 - 0.6 * strip)
    size = face[:, 2:] - face[:, :2]
    scale = strip * (0.45 + 0.5 * width) / tf.maximum(size[:, 0], 1e-3)
    half = size * scale[:, None] / 2
    centre_x = tf.where(left, 0.0, 1 - strip) + half[:, 0] + (strip - 2 * half[:, 0]) * x
    centre_y = tf.clip_by_value((y1 + y2) / 2 + 0.4 * (y - 0.5), half[:, 1], 1 - half[:, 1])
    centre = tf.stack([centre_x, centre_y], -1)
    origin = (face[:, :2] + face[:, 2:]) / 2 - centre / scale[:, None]
    beside = _warp(other, tf.eye(2) / scale[:, None, None], origin, side)

    ratio = 4 * half[:, 0] * half[:, 1] / tf.maximum((x2 - x1) * (y2 - y1), 1e-6)
    clear = (ratio > 0.05) & ((ratio < 0.8) | (ratio > 1.25))
    # Images without a face neither lend nor get one, and a strip must be wide enough to show a face.
    possible = (size[:, 0] > 0.02) & (x2 > x1) & (strip > 0.12) & (half[:, 1] < 0.5)
    chosen = (draw < probability) & possible & clear
    place = _centres(side)
    covered = tf.where(left[:, None], place < strip[:, None], place > 1 - strip[:, None]) & chosen[:, None]
    larger = (chosen & (ratio > 1))[:, None]
    boxes = tf.where(larger, tf.concat([centre - half, centre + half], -1), boxes)
    return tf.where(covered[:, None, :, None], beside, pixels), boxes


def _centres(side: Tensor) -> Tensor:
    """Returns where the pixels of a row have their centres, relative to the image, float32, (S,)."""
    return (tf.range(side, dtype=tf.float32) + 0.5) / tf.cast(side, tf.float32)


def _recolour(pixels: Tensor, settings: params.Augment, draws: list[Tensor]) -> Tensor:
    """Turns hue, then scales saturation and contrast, and shifts brightness: one matrix and one offset an image."""
    brightness, contrast, saturation, hue, grey = draws
    contrast = 1 + settings.contrast * (2 * contrast - 1)
    saturation = 1 + settings.saturation * (2 * saturation - 1)
    saturation = tf.where(grey < settings.grey, 0.0, saturation)
    offset = 255 * settings.brightness * (2 * brightness - 1) + 127.5 * (1 - contrast)
    angle = 2 * math.pi * settings.hue * (2 * hue - 1)
    # A turn about the grey axis (Rodrigues' formula); grey stays grey.
    cos, sin = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None] / math.sqrt(3)
    cross = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    turned = cos * tf.eye(3) + sin * cross + (1 - cos) / 3 * tf.ones((3, 3))
    luma = tf.tile(tf.constant([_LUMA]), (3, 1))
    saturated = saturation[:, None, None] * (tf.eye(3) - luma) + luma
    matrix = contrast[:, None, None] * tf.matmul(saturated, turned)
    shape = tf.shape(pixels)
    flat = tf.reshape(pixels, (shape[0], -1, 3))
    return tf.reshape(tf.matmul(flat, matrix, transpose_b=True) + offset[:, None, None], shape)


def _blur(pixels: Tensor, greatest: float, draw: Tensor) -> Tensor:
    """Mixes in a copy averaged over 3 x 3 pixels, or takes some of it away, which sharpens."""
    mean = tf.nn.avg_pool2d(pixels, 3, 1, "SAME")
    share = greatest * (1.5 * draw - 0.5)
    return pixels + share[:, None, None, None] * (mean - pixels)


def _cut_out(pixels: Tensor, probability: float, draws: list[Tensor], seed: Tensor) -> Tensor:
    """Covers a rectangle of up to 0.4 x 0.4 of some images with a grey (DeVries and Taylor, "Cutout", 2017)."""
    side = tf.shape(pixels)[1]
    count = tf.shape(pixels)[0]
    corner = tf.random.stateless_uniform((2, count), seed + 1)
    size = tf.random.stateless_uniform((2, count), seed + 2, 0.1, 0.4)
    place = _centres(side)
    x, y = ((place > c[:, None]) & (place < (c + s)[:, None]) for c, s in ((corner[0], size[0]), (corner[1], size[1])))
    covered = (y[:, :, None] & x[:, None] & (draws[0] < probability)[:, None, None])[..., None]
    return tf.where(covered, 255 * draws[1][:, None, None, None], pixels)
