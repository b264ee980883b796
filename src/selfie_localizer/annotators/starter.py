"""Faces by the first model, which learned from renders alone and never saw a label of these images."""

import functools
from typing import Any

from selfie_localizer import boxes, params
from selfie_localizer.annotators.annotator import Annotator, version_of
from selfie_localizer.annotators.network_answer import answer
from selfie_localizer.network import starter_network
from selfie_localizer.photos.decode import Pixels


class Starter(Annotator):
    """The one face that a localizer always sees, at a second look, and the score that it gives it."""

    Parameters = params.Starter

    def version(self) -> str:
        return version_of(
            __name__, "onnxruntime", "opencv-python-headless", data=starter_network.digest(self.root).encode()
        )

    def prepare(self) -> None:
        starter_network.load(self.root)

    def locate(self, pixels: Pixels) -> tuple[boxes.Boxes, float] | None:
        return answer(self._network, starter_network.IMAGE_SIZE, pixels, looks_again=True)

    @functools.cached_property
    def _network(self) -> Any:
        # One image at a time on one thread: the same numbers whatever else is asked, and no core is asked for twice.
        return starter_network.load(self.root, threads=1)
