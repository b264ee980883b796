"""From encoded images to boxes: what the served model and `predict` have in common.

This module and all that it imports is copied into every logged model. It knows
neither MLflow nor Keras, so that serving needs neither KerasHub nor the network's own code.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.network import second_look
from selfie_localizer.network.onnx_file import Network, core_count
from selfie_localizer.photos.decode import Pixels, decode_for, resize
from selfie_localizer.photos.limits import DEFAULT_LIMITS, MAX_BYTES, ImageError, Limits

T = TypeVar("T")
Row = dict[str, Any]

COLUMNS = ("x1", "y1", "x2", "y2", "width", "height", "score", "error")
CHUNK = 32
_LONGEST_TEXT = 4 * (MAX_BYTES + 2) // 3


@dataclass(frozen=True)
class _Prepared:
    """A photo as the network needs it: its square, a copy for the second look, and its own size in pixels."""

    pixels: Pixels
    copy: Pixels | None
    width: int
    height: int


class Locator:
    """Reads, decodes and resizes images on all cores and puts them through a network, `CHUNK` at a time.

    Memory does not grow with the number of images, and however many callers there are, no more images than there are
    cores are held decoded at full size. Safe to call from several threads.

    Args:
        network: Takes RGB, uint8, (B, S, S, 3); returns float32 (B, 5): a box relative to the image and a score.
        image_size: S, in pixels.
        limits: Of what may be decoded.
        looks_again: Whether the network is asked once more about a crop around its first answer, see `second_look`.
    """

    def __init__(
        self, network: Network, image_size: int, limits: Limits = DEFAULT_LIMITS, looks_again: bool = False
    ) -> None:
        self._network, self._size, self._limits, self._looks_again = network, image_size, limits, looks_again
        self._pool = ThreadPoolExecutor(core_count(), thread_name_prefix="decode")

    def locate(self, items: Sequence[T], read: Callable[[T], bytes]) -> list[Row]:
        """Finds the face on each image.

        Args:
            items: What `read` turns into an image file's bytes.
            read: Raises `ImageError` where it cannot.

        Returns:
            One row for each item, in order, with the keys `COLUMNS`: the box in pixels of the image as displayed, the
            image's size, the score in 0..1, and None for `error`. Where an image cannot be used, `error` says why and
            everything else is None. Boxes are clipped to the image, as they are where they are evaluated and drawn.
        """
        rows: list[Row] = []
        for start in range(0, len(items), CHUNK):
            prepared = list(self._pool.map(lambda item: self._prepare(item, read), items[start : start + CHUNK]))
            rows += self._answer(prepared)
        return rows

    def _prepare(self, item: T, read: Callable[[T], bytes]) -> _Prepared | str:
        try:
            photo = decode_for(self._size, read(item), self._limits)
            copy = second_look.copy_for(photo.pixels) if self._looks_again else None
            return _Prepared(resize(photo.pixels, self._size), copy, photo.width, photo.height)
        except ImageError as error:
            return str(error)
        # Whatever a decoder may throw at an image nobody has seen before must not cost the others their answer.
        except Exception as error:
            return f"cannot be processed ({type(error).__name__})"

    def _answer(self, prepared: Sequence[_Prepared | str]) -> list[Row]:
        good = [item for item in prepared if isinstance(item, _Prepared)]
        found = iter(self._ask(good) if good else ())
        return [_failed(item) if isinstance(item, str) else _row(next(found), item) for item in prepared]

    def _ask(self, photos: Sequence[_Prepared]) -> NDArray[np.float64]:
        output = self._network(np.stack([photo.pixels for photo in photos])).astype(np.float64)
        copies = [photo.copy for photo in photos if photo.copy is not None]
        return second_look.look_again(self._network, output, copies, self._size) if copies else output


def _row(numbers: NDArray[np.float64], photo: _Prepared) -> Row:
    if not np.isfinite(numbers).all():
        return _failed("the network gave no finite answer")
    width, height = photo.width, photo.height
    box = boxes.clip(boxes.scale(numbers[:4], width, height), width, height).tolist()
    return dict(zip(COLUMNS, (*box, width, height, float(numbers[4]), None), strict=True))


def _failed(reason: str) -> Row:
    return dict.fromkeys(COLUMNS) | {"error": reason}


def from_base64(text: object) -> bytes:
    """Decodes standard base64 strictly: no line breaks, no `data:` prefix, correct padding.

    Raises:
        ImageError: It is missing, not base64, or longer than an image may be.
    """
    if not isinstance(text, str):
        raise ImageError("no image: the column `image` must hold base64 text")
    if len(text) > _LONGEST_TEXT + 4:
        raise ImageError(f"{len(text):,} characters, more than an image of {MAX_BYTES:,} bytes has")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("not valid base64") from None
