"""How long the pipeline is likely to take on this machine, from a measurement of about a second.

Two speeds are measured: of one core on Python's own work, on which imports, tables and tracing hang, and of all cores
on products of matrices, on which training hangs. The constants come from a run of the sample at known speeds
(docs/quality.md, "How long it takes").
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfie_localizer import params
from selfie_localizer.parallel import worker_count
from selfie_localizer.photos.listing import list_photos
from selfie_localizer.training.hardware import choose_precision, cpu_flags

# Images a second that training makes at 128 px in bfloat16 at `MATRICES`: with the first blocks frozen, and without.
IMAGES = {"resnet18": (145, 95), "resnet50": (60, 35), "vgg11": (95, 35), "vgg13": (60, 25), "vgg16": (45, 18)}
OTHER = IMAGES["resnet50"]
MATRICES = 120.0
# How much longer float32 takes at the same speed of matrices, which are of float32.
FLOAT32 = 2.4
# Seconds that `_python` takes where the constants are from.
PYTHON_SECONDS = 0.033
# Seconds of one core for what does not grow with the photos: imports, tracing, reports.
FIXED, EACH_BACKBONE = 95.0, 52.0
# Seconds of one core for each photo: tables and `prepare`, and each annotator.
EACH_PHOTO = 0.002
ANNOTATOR = {"haar": 0.02, "starter": 0.012, "mtcnn": 0.016}


@dataclass(frozen=True)
class Speed:
    """How fast this machine is.

    Attributes:
        python: Work of one core in Python, relative to the machine that the constants are of.
        matrices: Of all cores, multiplications and additions of float32, in 10^9 a second.
    """

    python: float
    matrices: float


def measure() -> Speed:
    """Measures this machine for about a second."""
    loops = [_python() for _ in range(3)]
    square = np.random.default_rng(0).random((1024, 1024), np.float32)
    square @ square
    begin, products = time.perf_counter(), 0
    while (took := time.perf_counter() - begin) < 0.6:
        square @ square
        products += 1
    return Speed(PYTHON_SECONDS / min(loops), products * 1.024**3 / took)


def _python() -> float:
    begin = time.perf_counter()
    words: dict[str, int] = {}
    for number in range(300_000):
        word = str(number % 977)
        words[word] = words.get(word, 0) + number
    return time.perf_counter() - begin


def seconds(settings: params.Params, photos: int, speed: Speed, precision: str, cores: int) -> float:
    """Returns how long `dvc repro` takes where nothing was computed before.

    Args:
        settings: All parameters.
        photos: In `data/images`.
        speed: Of this machine.
        precision: `float32` or `bfloat16`, that of the training.
        cores: That this process may use.
    """
    train, tune = settings.train, settings.tune
    share = 1 - settings.label.validation - settings.label.test
    asked = sum(ANNOTATOR.get(name, max(ANNOTATOR.values())) for name in settings.annotate.annotators)
    python = FIXED + EACH_BACKBONE * len(settings.backbones) + photos * (EACH_PHOTO + asked) / cores
    trained = 0.0
    slower = MATRICES / speed.matrices * (FLOAT32 if precision == "float32" else 1)
    for row in settings.backbones.values():
        frozen, full = IMAGES.get(row.architecture, OTHER)
        rate = frozen if train.frozen_stride >= 8 and row.weights != "none" else full
        image = slower * (settings.prepare.image_size / 128) ** 2 / rate
        searched = tune.trials * tune.epochs * tune.fraction * share * photos * image
        fitted = train.epochs * share * photos * image
        caps = (60 * tune.max_minutes or np.inf, searched), (60 * train.max_minutes or np.inf, fitted)
        trained += sum(min(cap, wanted) for cap, wanted in caps)
    return float(python / speed.python + trained)


def describe(root: Path = Path(".")) -> str:
    """Returns one line: about how long the pipeline takes here."""
    settings = params.load(root / params.PARAMS)
    photos = len(list_photos(root / "data/images")[0])
    speed, cores = measure(), worker_count()
    precision, _ = choose_precision(settings.train.precision, cpu_flags(), ())
    wanted = seconds(settings, photos, speed, precision, cores)
    return (
        f"the pipeline takes about {max(1, round(wanted / 60))} min here for {photos:,} photos, less where it has run "
        f"before ({cores} cores, {speed.matrices:.0f} billion multiply-adds a second, {precision})"
    )
