"""The camera and the phone's photo app: what happens to a picture after the light has come in.

`develop` changes colours, sharpness and noise and never moves anything, so a box drawn before is right afterwards.
Most pictures are changed mildly, a few strongly, as on a phone full of selfies.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_renderer.brushes import tint

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Curve = Callable[[np.random.Generator, NDArray[np.float64]], NDArray[np.float64]]

_LEVELS = 4096  # Steps of the tone curves' tables: fine enough for 8 bits.
_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)  # ITU-R BT.601


def _faded(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    low = rng.uniform(0.05, 0.2, 3)
    return low + c * (rng.uniform(0.8, 0.98, 3) - low)


def _crossed(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    s = np.clip(c, 0, 1)
    steep = s * s * (3 - 2 * s)
    result = np.stack([steep[:, 0], steep[:, 1] * 0.6 + s[:, 1] * 0.4, 0.22 + s[:, 2] * 0.55], 1)
    return s + (result - s) * rng.uniform(0.4, 1.0)


def _warm(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(c, 0, None) ** (1 + rng.uniform(0.1, 0.45) * np.array([-1.0, -0.2, 1.0]))


def _cool(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(c, 0, None) ** (1 + rng.uniform(0.1, 0.4) * np.array([1.0, 0.0, -0.8]))


def _split(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    shadows, lights = rng.uniform(-0.12, 0.12, 3), rng.uniform(-0.1, 0.1, 3)
    return c + shadows * (1 - c) ** 2 + lights * c**2


def _bright(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - np.clip(1 - c, 0, 1) ** rng.uniform(1.4, 2.2)


def _ember(rng: np.random.Generator, c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matt, bluish shadows and peach lights, steep between."""
    s = np.clip(c, 0, 1) ** np.array([0.88, 1.0, 1.12])
    low, high = np.array([0.035, 0.05, 0.1]), np.array([1.0, 0.94, 0.82])
    return c + (low + (high - low) * s * (0.4 + 1.8 * s - 1.2 * s * s) - c) * rng.uniform(0.4, 0.8)


# A photo app's filter: its weight, what it does to the curves, and the range of the saturation it leaves.
_FILTERS: dict[str, tuple[float, Curve | None, tuple[float, float]]] = {
    "none": (0.64, None, (0.85, 1.15)),
    "black and white": (0.1, None, (0.0, 0.0)),
    "sepia": (0.02, _warm, (0.0, 0.3)),
    "faded": (0.06, _faded, (0.6, 0.95)),
    "crossed": (0.03, _crossed, (0.9, 1.4)),
    "warm": (0.05, _warm, (0.8, 1.2)),
    "cool": (0.03, _cool, (0.7, 1.1)),
    "split": (0.04, _split, (0.7, 1.1)),
    "bright": (0.03, _bright, (0.7, 1.0)),
    "ember": (0.0, _ember, (1.1, 1.35)),
}


def develop(rng: np.random.Generator, image: Floats, dusk: float = 0.0) -> Bytes:
    """Turns a clean picture into what a phone saves and an app shows.

    Args:
        rng: Source of all choices; the same state gives the same bytes.
        image: float32 (H, W, 3) RGB, display-referred, 0..1.
        dusk: Above 0, the picture is darker and noisier, the phone smooths the noise, and the filter is `ember`, all
            the more so the nearer to 1.

    Returns:
        uint8 (H, W, 3) RGB. Nothing has moved; only a border may cover the rim.
    """
    height, width = image.shape[:2]
    size = max(width, height)
    names = list(_FILTERS)
    name = names[rng.choice(len(names), p=[_FILTERS[n][0] for n in names])]
    if dusk:
        name = "ember"
    picture = _optics(rng, image.astype(np.float32), size)
    picture = _light(rng, picture)
    if dusk:
        picture = picture * np.float32(1 - dusk * rng.uniform(0, 0.25))
    picture = _curves(rng, picture, name)
    picture = _noise(rng, picture, 1 + 0.6 * dusk)
    if dusk:
        picture = np.asarray(cv2.bilateralFilter(picture, 5, 0.08 * dusk, 2.0), np.float32)
    picture = _sharpness(rng, picture)
    if rng.random() < 0.07:
        _border(rng, picture)
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0), alpha=255), np.uint8)


def encode(rng: np.random.Generator, image: Bytes) -> bytes:
    """Returns an image, uint8 (H, W, 3) RGB, as JPEG of mostly good, seldom poor quality."""
    quality = int(rng.integers(75, 93)) if rng.random() < 0.88 else int(rng.integers(40, 75))
    fine = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if rng.random() < 0.15 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, fine]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    return data.tobytes()


def _optics(rng: np.random.Generator, image: Floats, size: int) -> Floats:
    """Softness of the lens, shake of the hand, and the smoothing of a beauty mode."""
    if rng.random() < 0.05:
        length, turn = size * rng.uniform(0.006, 0.022), rng.uniform(0, np.pi)
        reach = int(np.ceil(length / 2))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
        shake = (kernel / kernel.sum()).astype(np.float32)
        image = np.asarray(cv2.filter2D(image, -1, shake, borderType=cv2.BORDER_REFLECT), np.float32)
    sigma = size / 306 * abs(rng.normal(0.2, 0.3))
    if rng.random() < 0.05:
        sigma += size / 306 * rng.uniform(0.5, 1.3)
    if sigma > 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)
    if rng.random() < 0.06:
        image = np.asarray(cv2.bilateralFilter(image, 5, rng.uniform(0.04, 0.1), 2.0), np.float32)
    return image


def _light(rng: np.random.Generator, image: Floats) -> Floats:
    """Vignetting, and seldom a flare, a leak of light or the haze of a smeared lens."""
    height, width = image.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)
    strength = rng.uniform(0.15, 0.55) if rng.random() < 0.14 else abs(rng.normal(0, 0.05))
    image = tint(image, 1 - np.float32(strength / 2) * (x[None, :] ** 2 + y[:, None] ** 2))
    if rng.random() < 0.08:
        cx, cy = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.3), rng.uniform(-1.3, 0.9)
        reach = rng.uniform(0.4, 1.2)
        glow = np.exp(-(((y[:, None] - cy) / reach) ** 2)) * np.exp(-(((x[None, :] - cx) / reach) ** 2))
        colour = np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.3, 1.0)], np.float32)
        image = 1 - (1 - image) * (1 - tint(colour, rng.uniform(0.2, 0.8) * glow))
    if rng.random() < 0.05:
        image = image + (rng.uniform(0.7, 1.0) - image) * rng.uniform(0.08, 0.25)
    return image.astype(np.float32)


def _curves(rng: np.random.Generator, image: Floats, name: str) -> Floats:
    """Exposure, white balance, contrast and the filter's curves, in one table per channel; then the saturation."""
    _, curve, saturation = _FILTERS[name]
    level = np.linspace(0, 1, _LEVELS)[:, None]
    stops = rng.normal(0.0, 0.28) + (rng.normal(-0.3, 0.8) if rng.random() < 0.13 else 0)
    balance = np.exp(
        rng.normal(0, 0.06) * np.array([1.0, 0.0, -1.0]) + rng.normal(0, 0.025) * np.array([-0.5, 1, -0.5])
    )
    # Exposure acts on light, the square of a displayed level; a shoulder keeps lights from being cut off hard.
    value = np.sqrt(level**2 * 2.0**stops) * balance
    knee, span = 0.9, 0.2
    value = np.where(value > knee, knee + span * (1 - np.exp((knee - value) / span)), value)
    steep = rng.normal(0.25, 0.35)
    value = value + steep * value * (1 - value) * (2 * value - 1) - rng.normal(0, 0.012)
    if curve is not None:
        value = curve(rng, value)
    amount = rng.uniform(*saturation)
    if name == "black and white":
        value = value + rng.uniform(-0.1, 0.5) * value * (1 - value) * (2 * value - 1)
    table = np.clip(value, 0, 1).astype(np.float32)
    index = np.clip(image * (_LEVELS - 1), 0, _LEVELS - 1).astype(np.uint16)
    result = cv2.merge([table[:, c].take(index[..., c]) for c in range(3)])
    grey = cv2.cvtColor(cv2.transform(result, _LUMA), cv2.COLOR_GRAY2RGB)
    result = cv2.addWeighted(result, amount, grey, 1 - amount, 0)
    if name == "sepia":
        result = result * np.array([1.05, 0.95, 0.76], np.float32)
    return result


def _noise(rng: np.random.Generator, image: Floats, gain: float) -> Floats:
    """Noise of the sensor: brightness in every pixel, colour in coarser grains, both more in the dark."""
    height, width = image.shape[:2]
    strength = gain * float(np.exp(rng.normal(-5.1, 0.6)))
    if rng.random() < 0.08:
        strength += rng.uniform(0.01, 0.03)
    grain = rng.standard_normal((height, width), dtype=np.float32)
    if strength > 0.012:  # A phone that needs much gain also smooths, which leaves coarser grains.
        grain = cv2.GaussianBlur(grain, (0, 0), 0.6) * 1.8
    half = ((height + 1) // 2, (width + 1) // 2, 3)
    coloured = cv2.resize(rng.standard_normal(half, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    grey = cv2.transform(image, _LUMA)
    monochrome = bool(np.ptp(image[:: max(1, height // 8), :: max(1, width // 8)], axis=-1).max() < 1e-3)
    total = tint(np.full(3, strength), grain)
    if not monochrome:
        total += coloured * np.float32(rng.uniform(0.2, 0.8) * strength)
    return image + tint(total, 1.3 - grey)


def _sharpness(rng: np.random.Generator, image: Floats) -> Floats:
    """The way through an app: scaled down and up again, sharpened with haloes, or neither."""
    height, width = image.shape[:2]
    if rng.random() < 0.2:
        # Seldom an old camera, or the photo of a screen.
        factor = rng.uniform(0.25, 0.5) if rng.random() < 0.2 else rng.uniform(0.5, 0.9)
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        way = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(reduced, (width, height), interpolation=way), np.float32)
    if rng.random() < 0.55:
        amount = rng.uniform(0.2, 0.7) + (rng.uniform(0.5, 1.3) if rng.random() < 0.12 else 0)
        sigma = rng.uniform(0.6, 1.4) * max(width, height) / 306
        image = image + (image - cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))) * np.float32(amount)
    return image


def _border(rng: np.random.Generator, image: Floats) -> None:
    """Covers the rim in place: an even frame, a polaroid's, bars on two sides, or rounded corners."""
    height, width = image.shape[:2]
    size = max(width, height)
    colour = np.float32(rng.choice([0.0, 1.0, rng.uniform(0.9, 1.0)], p=[0.3, 0.5, 0.2]))
    thin = max(1, round(size * rng.uniform(0.008, 0.035)))
    kind = rng.choice(["frame", "polaroid", "bars", "rounded"], p=[0.45, 0.2, 0.15, 0.2])
    if kind == "rounded":
        mask = np.zeros((height, width), np.uint8)
        radius = min(round(size * rng.uniform(0.03, 0.09)) + thin, (min(width, height) - 1) // 2)
        for x1, y1, x2, y2 in (
            (thin, radius, width - 1 - thin, height - 1 - radius),
            (radius, thin, width - 1 - radius, height - 1 - thin),
        ):
            cv2.rectangle(mask, (x1, y1), (x2, y2), 255, -1)
        for x, y in ((radius, radius), (width - 1 - radius, radius)):
            for centre in ((x, y), (x, height - 1 - y)):
                cv2.circle(mask, centre, max(radius - thin, 0), 255, -1, cv2.LINE_AA)
        share = mask[..., None].astype(np.float32) / 255
        image[...] = colour + (image - colour) * share
        return
    left = top = right = bottom = thin
    if kind == "polaroid":
        bottom = thin * 3
    elif kind == "bars":
        top, bottom, left, right = (thin, thin, 0, 0) if rng.random() < 0.5 else (0, 0, thin, thin)
    image[:top] = image[height - bottom :] = colour
    image[:, :left] = colour
    image[:, width - right :] = colour
