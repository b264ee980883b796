"""The size of a photo and its EXIF turn, from the header alone: boxes are moved between tools without any decoding."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from selfie_localizer.errors import UserError

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class PhotoSize:
    """Size in pixels as displayed, and the EXIF orientation (1 to 8) that leads there."""

    width: int
    height: int
    orientation: int = 1


def read_size(path: Path) -> PhotoSize:
    """Reads a photo's size from its header.

    Raises:
        UserError: The file cannot be read or is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
                try:
                    orientation = image.getexif().get(_ORIENTATION, 1)
                # A broken EXIF block is no reason to refuse a picture; a viewer shows it unturned.
                except Exception:
                    orientation = 1
    except Exception as error:
        # Pillow's readers raise nearly anything on a damaged header.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an image with a whole header"
        raise UserError(f"{path}: its size cannot be read ({reason}); mend or remove it") from None
    if orientation not in range(1, 9):
        orientation = 1
    return PhotoSize(height, width, orientation) if orientation >= 5 else PhotoSize(width, height, orientation)
