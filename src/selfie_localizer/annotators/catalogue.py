"""The annotators that there are: those of this package, and those that other packages add by an entry point."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from selfie_localizer import params
from selfie_localizer.annotators.annotator import Annotator
from selfie_localizer.annotators.haar import Haar
from selfie_localizer.annotators.model import Model
from selfie_localizer.annotators.mtcnn import Mtcnn
from selfie_localizer.annotators.starter import Starter
from selfie_localizer.annotators.yunet import Yunet

BUILT_IN: dict[str, type[Annotator]] = {"haar": Haar, "starter": Starter, "mtcnn": Mtcnn, "yunet": Yunet}


def make(chosen: Mapping[str, params.Section], root: Path = Path(".")) -> list[Annotator]:
    """Returns the annotators that `annotate.annotators` names, in its order."""
    return [_class(name)(name, parameters, root.absolute()) for name, parameters in chosen.items()]


def _class(name: str) -> type[Annotator]:
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.startswith(params.REGISTRY):
        return Model
    found: type[Annotator] = entry_points(group=params.ENTRY_POINTS)[name].load()
    return found
