"""Annotators that cost nothing, and leave a mark for each photo that they are asked about."""

from pathlib import Path

import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.annotators import catalogue
from selfie_localizer.annotators.annotator import Annotator
from selfie_localizer.photos.decode import Pixels


class Settings(params.Section):
    share: float = 0.5


class Centre(Annotator):
    """Sees a face in the middle of every picture that is not black; leaves a line in the project's file `asked`."""

    Parameters = Settings
    VERSION = "1"

    def version(self) -> str:
        return self.VERSION

    def locate(self, pixels: Pixels) -> tuple[np.ndarray, float | None] | None:
        with (self.root / "asked").open("a") as stream:
            stream.write(f"{self.name}\n")
        if not pixels.any():
            return None
        height, width = pixels.shape[:2]
        half = np.array([width, height, width, height]) / 2
        return half + self.parameters.share * half * [-1, -1, 1, 1], float(pixels[0, 0, 0]) / 255


def install(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes annotators of these names known, as if they were this package's own."""
    for name in names:
        patch.setitem(params.ANNOTATORS, name, Settings)
        patch.setitem(catalogue.BUILT_IN, name, Centre)


def asked(root: Path) -> dict[str, int]:
    """Returns how often each annotator was asked since the last call."""
    path = root / "asked"
    lines = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return {name: lines.count(name) for name in sorted(set(lines))}
