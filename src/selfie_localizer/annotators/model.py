"""Faces by a pinned version of the registry, on photos that came after those it was trained on."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from selfie_localizer import boxes, params
from selfie_localizer.annotators.annotator import Annotator, version_of
from selfie_localizer.annotators.network_answer import answer
from selfie_localizer.errors import UserError
from selfie_localizer.network.network_file import FORMS
from selfie_localizer.photos.decode import Pixels

if TYPE_CHECKING:
    from selfie_localizer.serving.pinned import Pinned


class Model(Annotator):
    """The one face that a registered localizer always sees, in the form in which it is served, and its score.

    What it learned is not asked back from it: it says nothing of its training images.
    """

    Parameters = params.RegistryVersion

    def version(self) -> str:
        return version_of(
            __name__, FORMS[self._pinned.form].package, "opencv-python-headless", data=self._pinned.digest.encode()
        )

    def trained_on(self) -> frozenset[str]:
        known = self._pinned.trained_on
        if known is None:
            raise UserError(
                f"annotate.annotators.{self.name}: this version does not tell what it was trained on, as those that an "
                "earlier version of the project registered; name one that was trained since, or take it out"
            )
        return known

    def prepare(self) -> None:
        """Makes sure that the network can be asked by doing so."""
        self._path, self._size = self._pinned.network, self._pinned.image_size
        try:
            self._network(np.zeros((1, self._size, self._size, 3), np.uint8))
        # The runtime's errors have nothing in common but this.
        except Exception as error:
            raise UserError(
                f"{self._path}: cannot be asked ({str(error).splitlines()[0][:160]}); remove its folder, "
                "and it is copied again"
            ) from None

    def locate(self, pixels: Pixels) -> tuple[boxes.Boxes, float] | None:
        return answer(self._network, self._size, pixels, self._pinned.second_look)

    @functools.cached_property
    def _pinned(self) -> "Pinned":
        # The only way up from here: MLflow takes seconds to import, and most projects name no version.
        from selfie_localizer.serving import pinned

        return pinned.version(self.name, self.root)

    @functools.cached_property
    def _network(self) -> Any:
        # One image at a time on one thread: the same numbers whatever else is asked, and no core is asked for twice.
        return FORMS[self._pinned.form].load(self._path, threads=1)
