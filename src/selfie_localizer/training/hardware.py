"""What the machine decides: the precision, the batch size and the devices of a training."""

import platform
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfie_localizer import params
from selfie_localizer.errors import UsageError
from selfie_localizer.progress import say

CPUINFO = Path("/proc/cpuinfo")
# Without one of these, bfloat16 is emulated and slower than float32.
CPU_BFLOAT16 = ("amx_bf16", "avx512_bf16")
# NVIDIA's Ampere is the first generation with bfloat16.
GPU_BFLOAT16 = (8, 0)
CPU_BATCH = 32
# ResNet50, the largest of the default backbones, keeps about 600 activations for each pixel until the backward pass.
ACTIVATIONS_PER_PIXEL = 600
# The rest is left to weights, optimizer, workspaces and fragmentation.
USABLE_GPU_SHARE = 0.6


@dataclass(frozen=True)
class Hardware:
    """What a training runs on.

    Attributes:
        precision: `float32`, `bfloat16` or `float16`.
        batch_size: Images in a step, over all devices.
        devices: Number of GPUs, or 1 for the CPU.
        strategy: The `tf.distribute` strategy to build and train under.
    """

    precision: str
    batch_size: int
    devices: int
    strategy: Any

    @property
    def policy(self) -> str:
        """Name of the Keras dtype policy; weights are float32 in all of them."""
        return self.precision if self.precision == "float32" else f"mixed_{self.precision}"


def choose(train: params.Train, images: int, image_size: int, label: str) -> Hardware:
    """Looks at the machine and says in one line what it chose and why.

    Args:
        train: Wishes of the user: `precision` and `batch_size`.
        images: Images in the training split.
        image_size: Side of an image in pixels.
        label: What the line begins with.

    Raises:
        UsageError: float16 was asked for on a CPU.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    precision, why = choose_precision(train.precision, cpu_flags(), capabilities)
    memory = _gpu_memory() if gpus and not train.batch_size else 0
    wanted = train.batch_size or choose_batch_size(image_size, precision, len(gpus), memory)
    if wanted > images:
        say(f"{label}: a batch of {wanted} is more than the training split has; taking all {images} images as one")
    devices = max(1, len(gpus))
    where = "the CPU" if not gpus else f"{devices} GPU" + "s" * (devices > 1)
    say(f"{label}: {precision} ({why}), batches of {min(wanted, images)}, on {where}")
    # Mirroring over a single device only costs time.
    strategy = tf.distribute.MirroredStrategy() if devices > 1 else tf.distribute.get_strategy()
    return Hardware(precision, min(wanted, images), devices, strategy)


def cpu_flags(cpuinfo: str | None = None) -> frozenset[str]:
    """Returns the flags of the first processor; empty where the system does not tell.

    Args:
        cpuinfo: Text in the form of Linux' `/proc/cpuinfo`; None reads this machine's.
    """
    if cpuinfo is None:
        cpuinfo = CPUINFO.read_text() if CPUINFO.exists() else ""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def choose_precision(
    requested: str, flags: Collection[str], capabilities: Sequence[tuple[int, int]]
) -> tuple[str, str]:
    """Returns the precision and the reason for it.

    Args:
        requested: `train.precision`.
        flags: Of the CPU, as in `cpu_flags`.
        capabilities: Compute capability of each GPU; empty where there is none.

    Raises:
        UsageError: float16 was asked for and there is no GPU.
    """
    if capabilities:
        weakest = min(tuple(found) for found in capabilities)
        native = weakest >= GPU_BFLOAT16
        reason = f"GPU of compute capability {weakest[0]}.{weakest[1]}, bfloat16 needs 8.0"
    else:
        present = [flag for flag in CPU_BFLOAT16 if flag in flags]
        native = bool(present)
        reason = f"CPU with {present[0]}" if native else f"CPU without {' or '.join(CPU_BFLOAT16)}"
        if not flags and platform.system() != "Linux":
            reason = f"{platform.system()} does not tell whether its CPU has bfloat16"
    if requested == "auto":
        return ("bfloat16" if native else "float32"), reason
    if requested == "float16" and not capabilities:
        raise UsageError("train.precision: float16 needs a GPU, a CPU takes 30 times as long with it; set auto")
    if requested == "bfloat16" and not native:
        return requested, f"as params.yaml says; slower than float32 here: {reason}"
    return requested, "as params.yaml says"


def choose_batch_size(image_size: int, precision: str, gpus: int, gpu_bytes: int) -> int:
    """Returns a batch size for a machine: 32 on a CPU; on GPUs the power of two that their memory has room for.

    Args:
        image_size: Side of an image in pixels.
        precision: Of the activations.
        gpus: Number of GPUs; 0 is a CPU.
        gpu_bytes: Memory of the smallest GPU.
    """
    if not gpus:
        return CPU_BATCH
    image_bytes = ACTIVATIONS_PER_PIXEL * image_size**2 * (4 if precision == "float32" else 2)
    room = max(1, int(USABLE_GPU_SHARE * gpu_bytes / image_bytes))
    # More than 128 on a device brings no more images/s but fewer steps.
    return gpus * min(128, max(8, 2 ** (room.bit_length() - 1)))


def _gpu_memory() -> int:
    from tensorflow.python.client import device_lib

    return min(device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU")
