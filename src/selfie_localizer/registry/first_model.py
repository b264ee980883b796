"""The first model as a version of the registry, so that there is something to serve where no candidate passed."""

from pathlib import Path
from typing import Any

from selfie_localizer import params
from selfie_localizer.evaluation.judge import shown
from selfie_localizer.network import starter_network
from selfie_localizer.progress import say
from selfie_localizer.registry import gate, rescore
from selfie_localizer.registry.candidate import Candidate
from selfie_localizer.registry.servable import Servable, judged_tags, register
from selfie_localizer.registry.versions import Registry, number
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

# A tag that only the first model has.
TAG = "first_model"
# Names its run.
RUN = "first-model"


def crown(
    candidate: Candidate, judged: gate.JudgedImages, registry: Registry, settings: params.Params, root: Path
) -> bool:
    """Registers the first model and makes it champion, in the place of a candidate that did not pass.

    Its figure is that of the registered version itself, asked for the images that judge the candidate.

    Args:
        candidate: Says what judges.
        judged: The images.
        registry: Has no champion.
        settings: All parameters.
        root: The project's folder.

    Returns:
        Whether it is champion now; if not, one line says why.
    """
    if not (root / starter_network.NETWORK).exists():
        say(f"promote: there is no champion, and no first model here either; {starter_network.HINT}")
        return False
    version = _register(registry, settings.serving.second_look, root)
    if "rolled_back" in version.tags:
        say(f"promote: version {number(version)}, the first model, was rolled back and stays so")
        return False
    try:
        answers = rescore.answers(
            registry, number(version), judged.paths, f"promote: first model, version {number(version)}"
        )
    except rescore.CannotAnswerError as error:
        say(f"promote: version {number(version)}, the first model, does not answer and cannot be champion: {error}")
        return False
    iou = round(float(judged.iou(answers).mean()), 4)
    registry.tag(version, **judged_tags(candidate.judge, iou, None))
    registry.describe(version, describe())
    registry.approve(version, [])
    figure = shown(iou, candidate.judge["by"], candidate.judge["images"])
    say(f"promote: version {number(version)}, the first model, is the champion until a candidate passes; {figure}")
    return True


def _register(registry: Registry, second_look: bool, root: Path) -> Any:
    """Returns its version, which is made where there is none."""
    serving = params.Serving(form="onnx", second_look=second_look)
    known: dict[str, Any] = {
        "backbone": starter_network.ARCHITECTURE,
        "image_size": starter_network.IMAGE_SIZE,
        "model_digest": starter_network.digest(root),
        "settings": {"weights": "starter"},
        TAG: True,
    }
    # It learned from renders alone: none of the images here.
    model = Servable(RUN, known, serving, root / starter_network.NETWORK, trained_on=())

    def log(run: Run) -> None:
        run.params(mlflow_runs.flat(known["settings"]))

    return register(model, registry, root, {TAG: "true"}, log)[0]


def describe() -> str:
    """Returns what a person reads of the version."""
    return (
        f"The first model: the starter weights ({starter_network.ARCHITECTURE}), which learned from rendered selfies "
        "alone and from none of the images here. No trained candidate was better when it became champion."
    )
