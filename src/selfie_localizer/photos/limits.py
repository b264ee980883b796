"""How much a photo may ask of the machine, checked before anything is decoded."""

from dataclasses import dataclass

MAX_BYTES = 50 * 2**20


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason in a few words, without the file's name."""


def why(error: Exception) -> str:
    """Returns what a decoder reports in one line; the same bytes give the same text, so it holds no address."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines and " at 0x" not in lines[0] else type(error).__name__


@dataclass(frozen=True)
class Limits:
    """What may be decoded. Messages name a limit as it is written in `params.yaml`, e.g. `photos.max_pixels`.

    Attributes:
        max_bytes: Larger files are not read.
        max_pixels: Most pixels that decoding may hold at a time, each some 7 bytes. They are those of the whole image,
            but for a JPEG that is stored in one pass, which is shrunk while it is read.
        max_jpeg_pixels: Most pixels of a JPEG that is stored in one pass. They cost time, and no memory; phones make
            up to 200 million.
        max_scans: Most passes of a progressive JPEG. Each one costs time for the whole image; encoders write 10 or so.
        max_frames: Most pictures of an animated PNG or WebP, of which only the first is decoded.
    """

    max_bytes: int = MAX_BYTES
    max_pixels: int = 80_000_000
    max_jpeg_pixels: int = 250_000_000
    max_scans: int = 32
    max_frames: int = 1_000

    def check_bytes(self, size: int) -> None:
        """Raises ImageError where a file of `size` bytes is too large."""
        if size > self.max_bytes:
            raise ImageError(f"{size:,} bytes, more than photos.max_bytes allows ({self.max_bytes:,})")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises ImageError where `width` x `height` pixels are too many to be held."""
        if width * height > self.max_pixels:
            raise ImageError(f"{width:,} x {height:,} pixels, more than photos.max_pixels allows ({self.max_pixels:,})")

    def check_jpeg_pixels(self, width: int, height: int) -> None:
        """Raises ImageError where a JPEG of `width` x `height` pixels is too large even to be shrunk."""
        if width * height > self.max_jpeg_pixels:
            raise ImageError(
                f"{width:,} x {height:,} pixels, more than photos.max_jpeg_pixels allows ({self.max_jpeg_pixels:,})"
            )

    def check_scans(self, count: int) -> None:
        """Raises ImageError where a JPEG of `count` scans would take too long."""
        if count > self.max_scans:
            raise ImageError(f"a progressive JPEG of more scans than photos.max_scans allows ({self.max_scans:,})")

    def check_frames(self, count: int) -> None:
        """Raises ImageError where an animation has too many pictures."""
        if count > self.max_frames:
            raise ImageError(f"an animation of more pictures than photos.max_frames allows ({self.max_frames:,})")


DEFAULT_LIMITS = Limits()
