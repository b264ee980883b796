"""Precision, batch and device follow the machine, and the user is told why."""

import pytest

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.training import hardware

CPUINFO = (
    "processor\t: 0\nmodel name\t: some CPU\nflags\t\t: fpu avx2 {}\nbogomips\t: 1\n\nprocessor\t: 1\nflags\t: fpu\n"
)


def choose(requested: str, flag: str = "", capabilities: tuple[tuple[int, int], ...] = ()) -> tuple[str, str]:
    return hardware.choose_precision(requested, hardware.cpu_flags(CPUINFO.format(flag)), capabilities)


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16"])
def test_a_cpu_with_bfloat16_uses_it(flag: str) -> None:
    assert choose("auto", flag) == ("bfloat16", f"CPU with {flag}")


def test_a_cpu_without_bfloat16_computes_in_float32() -> None:
    assert choose("auto", "avx512f") == ("float32", "CPU without amx_bf16 or avx512_bf16")


def test_a_system_that_tells_no_flags_computes_in_float32() -> None:
    assert hardware.cpu_flags("") == frozenset()
    assert hardware.choose_precision("auto", hardware.cpu_flags(""), [])[0] == "float32"


def test_gpus_use_bfloat16_only_if_all_have_it() -> None:
    assert choose("auto", capabilities=((8, 0), (9, 0)))[0] == "bfloat16"
    assert choose("auto", "amx_bf16", capabilities=((8, 6), (7, 5)))[0] == "float32"


def test_float16_is_refused_on_a_cpu_and_allowed_on_a_gpu() -> None:
    with pytest.raises(UserError, match="float16 needs a GPU") as caught:
        choose("float16", "amx_bf16")
    assert "\n" not in str(caught.value)
    assert choose("float16", capabilities=((7, 5),))[0] == "float16"


def test_bfloat16_on_a_cpu_without_it_is_obeyed_with_a_warning() -> None:
    precision, why = choose("bfloat16")
    assert precision == "bfloat16"
    assert "slower than float32" in why


def test_the_batch_grows_with_gpu_memory_and_gpus() -> None:
    assert hardware.choose_batch_size(128, "float32", gpus=0, gpu_bytes=0) == hardware.CPU_BATCH
    small, large = (hardware.choose_batch_size(300, "float32", 1, gigabytes << 30) for gigabytes in (8, 16))
    assert large == 2 * small
    assert hardware.choose_batch_size(300, "bfloat16", 1, 8 << 30) == large
    assert hardware.choose_batch_size(300, "float32", 2, 8 << 30) == 2 * small
    assert hardware.choose_batch_size(1024, "float32", 1, 1 << 30) == 8


def test_a_batch_larger_than_the_split_is_cut_to_it_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = hardware.choose(params.Train(batch_size=64), 10, 32, "train x")
    assert chosen.batch_size == 10
    assert "a batch of 64 is more than the training split has; taking all 10 images" in capsys.readouterr().err


def test_what_is_chosen_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    hardware.choose(params.Train(precision="float32"), 100, 32, "train x")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train x: float32 (as params.yaml says), batches of 32, on ")
