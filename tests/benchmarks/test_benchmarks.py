"""Timing in turn, what is compared, and the command."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from raft.benchmarks import kernel, memory
from raft.benchmarks.kernel_peers import BLOCK, CHANNELS, GATED, PLAIN, build_functions
from raft.benchmarks.timing import compute_ratio, time_interleaved
from raft.cli.commands import bench
from raft.cli.main import main
from raft.errors import InputError
from raft.kernels import cpu


def test_every_function_is_called_in_every_round() -> None:
    calls: list[str] = []
    functions = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    times = time_interleaved(functions, torch.device("cpu"), seconds=0.0, least_rounds=7)
    assert all(len(actual) == 7 for actual in times.values())
    rounds = [sorted(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert rounds == [["a", "b", "c"]] * 8  # one beforehand
    assert len({tuple(calls[i : i + 3]) for i in range(3, len(calls), 3)}) > 1


def test_the_ratio_is_that_of_the_medians() -> None:
    random = np.random.default_rng(1)
    slow, fast = 3 + 0.1 * random.random(200), 2 + 0.1 * random.random(200)
    actual = compute_ratio(slow, fast)
    assert actual.value == pytest.approx(np.median(slow) / np.median(fast))
    assert actual.low < actual.value < actual.high
    assert actual.high - actual.low < 0.03
    times = time_interleaved(
        {"a": lambda: time.sleep(0.004), "b": lambda: time.sleep(0.002)}, torch.device("cpu"), 0.2
    )
    assert compute_ratio(times["a"], times["b"]).value == pytest.approx(2, rel=0.3)


def test_all_functions_compute_gelu() -> None:
    x = torch.randn(20, 30)
    for name, module in build_functions(PLAIN, [x]).items():
        is_squared = name in ("F.relu(x)²", "raft.Rational of degrees (6, 4)")
        expected = x.relu().square() if is_squared else nn.functional.gelu(x)
        assert (module(x) - expected).abs().max() < (0.1 if is_squared else 0.01), name


def test_all_gated_functions_compute_swiglu() -> None:
    gate, up = torch.randn(20, 30), torch.randn(20, 30)
    for name, module in build_functions(GATED, [gate, up]).items():
        assert (module(gate, up) - nn.functional.silu(gate) * up).abs().max() < 0.05, name


def test_groups_of_the_second_axis_are_those_of_channels() -> None:
    x = torch.randn(3, 16, 5, 4)
    functions = build_functions(CHANNELS, [x])
    for name, module in functions.items():
        assert (module(x) - nn.functional.gelu(x)).abs().max() < 0.01, name
    grouped: list[Any] = [module for name, module in functions.items() if "groups" in name]
    assert len(grouped) == 2
    for module in grouped:
        with torch.no_grad():
            module.numerator[:, 0] = torch.arange(8.0)  # the values at zero
        actual = module(torch.zeros_like(x))
        torch.testing.assert_close(actual[2, :, 1, 3], torch.arange(8.0).repeat_interleave(2))


def test_blocks_compute_swiglu_of_the_same_shape() -> None:
    x = torch.randn(6, 8)
    functions = build_functions(BLOCK, [x], width=20)
    weights = functions["SwiGLU block"].state_dict()
    for name, module in functions.items():
        module.load_state_dict(weights, strict=False)
        assert (module(x) - functions["SwiGLU block"](x)).abs().max() < 0.05, name


MEASURED_ALONE = """
import runpy, sys
import torch

memory = runpy.run_path(sys.argv[1])
memory["return_freed_memory"]()
x = torch.ones(1 << 20)

def call():
    y = x + 1  # four MiB
    del y
    return x + x, x * x  # eight

call()  # what is touched once and for all
print(round(memory["measure_peak_bytes"](call, torch.device("cpu")) / 2**20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
def test_the_peak_is_of_what_is_held_at_one_time() -> None:
    command = [sys.executable, "-c", MEASURED_ALONE, memory.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "8"


@pytest.mark.slow
@pytest.mark.skipif(not cpu.runs_on("cpu"), reason="the compiled kernel was not built")
def test_the_activation_needs_no_more_memory_than_gelu(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    words = ["kernel", "--device", "cpu", "--seconds", "0", "--shapes", "1024x1024", "--dtypes", "float32"]
    assert main(["bench", *words, "--out", str(out)]) == 0
    peaks = pd.read_csv(out / "results.csv").set_index("function")["peak_megabytes"]
    if peaks.dropna().empty:
        pytest.skip("this system does not tell a process its peak")
    workspace = 0.5  # MB, with what the allocator and the threads take
    assert peaks["raft.Rational"] < peaks["F.gelu"] + workspace
    assert peaks["raft.rational_glu"] < peaks["F.silu(gate) * up"] - 4.1 + workspace
    assert peaks["the formula"] > 3 * peaks["F.gelu"]


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory is measured in this process, which need not start then; its numbers mean nothing."""
    monkeypatch.setattr(kernel, "_memory_process", lambda device: ThreadPoolExecutor(1))
    logger = logging.getLogger("raft")  # which the process of its own silences for good
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("what", ["kernel", "step"])
def test_the_command_writes_what_it_shows(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], measured_here: None
) -> None:
    options = {
        "kernel": ["--shapes", "8x16", "2x8x3x3", "4x8x16", "--dtypes", "bfloat16"],
        "step": ["--layers", "1", "--hidden_size", "64", "--batch_size", "2", "--sequence_length", "8",
                 "--vocab_size", "100"],
    }  # fmt: skip
    out = tmp_path / "bench"
    assert main(["bench", what, "--device", "cpu", "--seconds", "0", "--out", str(out), *options[what]]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert len(pd.read_csv(out / "results.csv")) == len(rows) >= 3
    peer = next(row for row in rows if row.get("function", row.get("model")) in ("F.gelu", "FAFT"))
    assert peer["ratio_value"] == 1.0
    for row in rows:
        assert row.get("function", row.get("model")) in printed
        assert f"{row['ratio_value']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" in printed
        assert row["milliseconds"] > 0


def test_what_was_measured_is_kept_where_the_rest_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured_here: None
) -> None:
    def cut_off(*arguments: Any) -> Iterator[list[kernel.KernelMeasurement]]:
        yield next(kernel.measure_kernels(*arguments))
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    words = "--device cpu --seconds 0 --shapes 8x16 4x16 --dtypes float32 --overwrite true --out ."
    bench.bench_kernel(words.split())
    whole = pd.read_csv("results.csv")
    assert len(whole) > 6
    assert [file.name for file in tmp_path.parent.glob(f"{tmp_path.name}*")] == [tmp_path.name]
    monkeypatch.setattr(bench, "measure_kernels", cut_off)
    with pytest.raises(KeyboardInterrupt):
        bench.bench_kernel(words.split())
    pd.testing.assert_frame_equal(pd.read_csv("results.csv"), whole)
    functions = pd.read_csv(tmp_path.with_name(f"{tmp_path.name}.partial") / "results.csv")["function"]
    assert functions[0] == "F.gelu"
    assert "raft.rational_glu" not in functions.to_list()
    with pytest.raises(InputError, match="holds another run"):
        bench.bench_kernel(words.replace("--overwrite true", "").split())


@pytest.mark.parametrize("words", ["--batch_size 0", "--vocab_size 5", "--layers 0", "--hidden_size 65"])
def test_a_step_that_cannot_be_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", *words.split()]) == 2
    assert words.split()[0] in capsys.readouterr().err


def test_help_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "kernel: Time the activation alone" in printed
    assert "step: Time a whole training step" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "raft bench measures kernel or step"),
        (["kernel", "--device", "tpu"], "--device must be cpu, cuda or auto, not 'tpu'"),
        (["kernel", "--dtypes", "int8"], "dtypes are float32, bfloat16, float16, not 'int8'"),
        (["kernel", "--shapes", "x3"], "a shape is written as 4096x3072, not 'x3'"),
        (["kernel", "--shapes", "300"], "a shape has two to four sizes, as 4096x3072 has, not '300'"),
        (["kernel", "--shapes", "2x12x3x3"], "the second, channels, must be a multiple of 8, not 12"),
        (["step", "--hidden_size", "100"], "--hidden_size must be a multiple of 64"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
