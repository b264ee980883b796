"""What an annotator is, and how to add one.

A package of anybody adds one by an entry point, whose name is the annotator's:

    [project.entry-points."selfie_localizer.annotators"]
    mine = "my_package.my_module:Mine"

    class Threshold(params.Section):
        least: float = 0.5

    class Mine(Annotator):
        Parameters = Threshold

        def version(self):
            return importlib.metadata.version("my_package")

        def locate(self, pixels):
            return np.array([10.0, 20.0, 110.0, 140.0]), 0.9

Then `annotate.annotators: {mine: {least: 0.7}}` in `params.yaml` has it asked.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from selfie_localizer import dependencies, files, params
from selfie_localizer.boxes import Boxes
from selfie_localizer.photos.decode import Pixels


class Annotator(ABC):
    """Says where the face is on a picture.

    Once it is prepared it is sent to worker processes, by pickle, and asked there, from one thread. What is heavy is
    made in each process when it is first needed: a `functools.cached_property` is, and is not sent. It may use one
    core.

    Args:
        name: The key in `annotate.annotators`.
        parameters: An instance of `Parameters`.
        root: The project's folder, for parameters that are paths.
    """

    # What may stand in params.yaml.
    Parameters: ClassVar[type[params.Section]] = params.Section

    def __init__(self, name: str, parameters: Any, root: Path = Path(".")) -> None:
        self.name, self.parameters, self.root = name, parameters, root

    def __getstate__(self) -> dict[str, Any]:
        # What was made when it was first needed is made again elsewhere.
        own = {name for name in vars(self) if isinstance(getattr(type(self), name, None), functools.cached_property)}
        return {name: value for name, value in vars(self).items() if name not in own}

    @abstractmethod
    def version(self) -> str:
        """Returns what the answers hang on besides the parameters: a digest of code, weights and library versions.

        Another version is asked anew. It is asked for in every run, so it should not take long.

        Raises:
            UserError: Something that is needed is missing.
        """

    def prepare(self) -> None:  # noqa: B027  (most have nothing to prepare)
        """Makes sure, once and before it is sent anywhere, that it can be asked.

        Raises:
            UserError: Something that is needed is missing or damaged; one line says what to do.
        """

    def trained_on(self) -> Collection[str]:
        """Returns the photos that it is not asked about, since it was trained on them: SHA-256 of their bytes, in hex.

        Raises:
            UserError: It was trained on photos of this kind and cannot tell which.
        """
        return ()

    @abstractmethod
    def locate(self, pixels: Pixels) -> tuple[Boxes, float | None] | None:
        """Finds the largest face.

        Args:
            pixels: RGB, uint8, shape (height, width, 3); a large photo comes smaller than it is.

        Returns:
            The box in pixels of the given picture, float64, shape (4,), and how sure it is, 0..1, or None where it
            cannot tell. None if there is no face.
        """


def version_of(module: str, *packages: str, data: bytes = b"") -> str:
    """Returns a digest of a module with all code of this project that it uses, of packages' versions and of data.

    Example:
        >>> version_of("selfie_localizer.annotators.haar", "opencv-python-headless")
    """
    return files.digest(dependencies.code_digest(module), {name: version(name) for name in packages}, data)
