"""A command's own lines are all that a user sees."""

import subprocess
from collections.abc import Callable


def test_tensorflow_is_imported_without_a_word(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = """
import sys
from selfie_localizer.quiet import hush_tensorflow
hush_tensorflow()
import keras
import tensorflow as tf
tf.config.list_physical_devices("GPU")
print(float(tf.constant(1.5)))
print("still here", file=sys.stderr)
"""
    done = run_python(script)
    assert done.stdout == "1.5\n"
    assert done.stderr == "still here\n"
