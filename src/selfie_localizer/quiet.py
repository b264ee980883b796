"""Keeps the greetings of TensorFlow and LiteRT out of the user's sight."""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def hush_tensorflow() -> None:
    """Makes the import of TensorFlow, whenever it comes, say nothing.

    While it loads it writes what it found of the machine, whatever `TF_CPP_MIN_LOG_LEVEL` says; later it listens to
    that. Errors of the import are raised as always.
    """
    # Its warnings of retracing: here each model is traced once for each size of a batch.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_quietly(module: ModuleType) -> None:
            with no_stderr():
                execute(module)

        loader.exec_module = execute_quietly
        return spec


@contextmanager
def no_stderr() -> Iterator[None]:
    """Sends the process's own stderr, below Python's, nowhere."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
