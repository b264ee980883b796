"""Which code decides what a stage comes to: what `dvc.yaml` lists for it, and what fingerprints of resumed work cover.

The code is read from the import graph of the source files: whatever the stage's module imports, at its top or inside
a function, and whatever that imports in turn. Imports for type checkers alone do not count.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from selfie_localizer import files

# The folder that holds the packages.
SOURCE = Path(__file__).parents[1]
PACKAGES = ("selfie_localizer", "selfie_renderer")

# The module whose function of the same name each stage of dvc.yaml runs.
STAGES = {
    "annotate": "selfie_localizer.annotators.annotate",
    "validate": "selfie_localizer.validation.validate",
    "label": "selfie_localizer.labels.label",
    "prepare": "selfie_localizer.dataset.prepare",
    "tune": "selfie_localizer.training.tune",
    "train": "selfie_localizer.training.train",
    "evaluate": "selfie_localizer.evaluation.evaluate",
    "promote": "selfie_localizer.registry.promote",
}

# Code that no import statement shows, by the module that loads it. Modules of this package alone: what Keras, KerasHub
# or OpenCV load by name, such as the backbones of `params.yaml`, belongs to the locked packages.
LOADED_BY_NAME = {
    # MLflow copies the file into the served model and runs it there.
    "selfie_localizer.serving.mlflow_model": ("selfie_localizer.serving.pyfunc_model",),
    # An optional decoder, which is no module of this package.
    "selfie_localizer.photos.heic": (),
}

# Modules and whole packages that cannot change what a stage comes to, each with the reason. What only they import is
# left out too. The command line needs no row: nothing imports it.
EXCLUDED = {
    "selfie_localizer.dependencies": "names code; what it names is compared by content",
    "selfie_localizer.errors": "what a failure says; a stage that fails has no results",
    "selfie_localizer.params": "the values that it reads are listed under `params` and stand in every fingerprint",
    "selfie_localizer.progress": "what is shown while a stage works",
    "selfie_localizer.quiet": "which warnings are shown",
    "selfie_localizer.state": "where unfinished work is kept; the results are the same with and without it",
    "selfie_localizer.tracking": "what is told to MLflow after it was computed",
    "selfie_localizer.photos.sheets": "draws pictures",
    "selfie_localizer.network.drawing": "draws pictures",
    "selfie_localizer.validation.pictures": "draws pictures",
    "selfie_localizer.labels.pictures": "draws pictures",
    "selfie_localizer.training.pictures": "draws pictures",
    "selfie_localizer.evaluation.pictures": "draws pictures",
}

# Beside the modules of a package, all files are its data but these.
NOT_DATA = {".py", ".pyc", ".md", ".typed"}


def code_of(stage: str) -> list[Path]:
    """Returns the files of code and package data that decide what a stage comes to.

    Args:
        stage: A key of `STAGES`, or the dotted name of any module, such as one annotator's.

    Returns:
        Paths relative to `SOURCE`, sorted. Reading them takes about a tenth of a second.

    Raises:
        ValueError: There is no such module.

    Example:
        >>> code_of("selfie_localizer.boxes")
        [PosixPath('selfie_localizer/__init__.py'), PosixPath('selfie_localizer/boxes.py')]
    """
    return closure(STAGES.get(stage, stage))


def code_digest(stage: str) -> str:
    """Returns a digest of the names and contents of `code_of(stage)`, so that work of other code is never gone on with.

    Versions of other packages are not part of it.
    """
    return files.digest(*(part for path in code_of(stage) for part in (path.as_posix(), (SOURCE / path).read_bytes())))


def closure(
    start: str,
    packages: Iterable[str] = PACKAGES,
    source: Path = SOURCE,
    excluded: Iterable[str] = EXCLUDED,
    loaded_by_name: Mapping[str, Iterable[str]] = LOADED_BY_NAME,
) -> list[Path]:
    """Returns the files that a module depends on, as `code_of` does, for any packages.

    Args:
        start: The module.
        packages: Top-level packages, importable from `source`.
        source: The folder that holds them.
        excluded: Modules, and packages with all that is in them, that do not count.
        loaded_by_name: Modules that a module loads by other ways than an import.

    Raises:
        ValueError: There is no such module.
    """
    import grimp

    # Without its cache, which would be one more thing to write and hardly faster.
    graph = grimp.build_graph(*packages, cache_dir=None, exclude_type_checking_imports=True)
    if start not in graph.modules:
        raise ValueError(f"no module {start} in {source}")
    excluded = set(excluded)
    found: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        # Python runs a package before anything in it.
        above = {module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)}
        if module in found or (module != start and above & excluded):
            continue
        found.add(module)
        waiting += above | graph.find_modules_directly_imported_by(module) | set(loaded_by_name.get(module, ()))
    paths = {_path(module, source) for module in found}
    data = {data for folder in {path.parent for path in paths} for data in _data(folder)}
    return sorted(path.relative_to(source) for path in paths | data)


def _path(module: str, source: Path) -> Path:
    base = source / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _data(folder: Path) -> list[Path]:
    """Returns the data files of a package, also in folders of its own that are no packages."""
    found = []
    for path in folder.iterdir():
        if path.name.startswith((".", "__pycache__")):
            continue
        if path.is_dir():
            found += [] if (path / "__init__.py").exists() else _data(path)
        elif path.suffix not in NOT_DATA:
            found.append(path)
    return found
