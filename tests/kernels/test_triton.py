"""The Triton kernels under Triton's interpreter, by the tests that every backend has to pass."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

import raft
from raft.kernels import reference, triton
from tests.kernels.oracle import coefficients, present

QUICK = (
    "triton and (1-A-degrees3 or 4-B-degrees2 or 4-C-degrees5 or kink and (triton-A or triton-D) "
    "or infinity and (dtype0-degrees1 or dtype0-degrees3-B or dtype2-degrees2-N) or gated and 1-N-dtype3 "
    "or few_degrees "
    "or opcheck and 1-dtype1 "
    "or other_dtypes and (dtype0-A-degrees0 or dtype2-C-degrees0) "
    "or many_tiles and (near-3-dtype0 or far-1-dtype1))"
)
WHOLE = (
    "triton and (1-A-degrees3 or 4-B-degrees2 or 4-C-degrees5 or 1-N-degrees8 or infinity "
    "or overflows and A-degrees0 or kink "
    "or other_dtypes and degrees0 or gated and (4-A-dtype0 or 1-B-dtype1 or 1-N-dtype3) "
    "or opcheck or traced_everywhere and 4-dtype1 or many_tiles)"
)


needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="needs triton, which has no build for this platform"
)


@needs_triton
@pytest.mark.parametrize("forms", [["1"], pytest.param([], marks=pytest.mark.slow)], ids=["quick", "whole"])
def test_compiled_for_a_gpu(forms: list[str]) -> None:
    """Which none has to be there for."""
    program = Path(__file__).with_name("compile_for_gpu.py")
    done = subprocess.run(
        [sys.executable, str(program), *forms], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "_add_up"


@pytest.mark.skipif(not triton.INTERPRETED, reason="test_in_the_interpreter runs it")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("groups", [1, 3, 15])
@pytest.mark.parametrize("scale", [1.0, 3000.0], ids=["near", "far"])
def test_many_tiles_a_program(
    dtype: torch.dtype, groups: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With triton: programs go through several tiles, the last of which end early."""
    few = {dtype.itemsize: triton.Launch(block=16, warps=1, programs=4, registers=64)}
    monkeypatch.setattr(triton, "FORWARD", few)
    monkeypatch.setattr(triton, "BACKWARD", few)
    monkeypatch.setattr(triton, "TOTAL", 2)
    a, b = coefficients(groups, (5, 4), "A", 0, dtype)
    x, g = (scale**k * torch.randn(7, 15, dtype=dtype, generator=torch.manual_seed(k)) for k in (1, 0))
    actual = [triton.forward(x, a, b, "A"), *present(triton.backward(g, x, a, b, "A"))]
    expected = [reference.forward(x, a, b, "A"), *present(reference.backward(g, x, a, b, "A"))]
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.skipif(not triton.INTERPRETED, reason="test_in_the_interpreter runs it")
@pytest.mark.parametrize("degrees", [(0, 0), (1, 1), (3, 2)])
def test_many_tiles_of_few_degrees(degrees: tuple[int, int]) -> None:
    """With triton: float64 up to where powers overflow, and a limit that a kernel can be told in float32."""
    a, b = coefficients(1, degrees, "A", 0, torch.float64)
    x = torch.tensor([0.5, -3.0, 1e30, -1e120, 1e150, float("inf"), -float("inf")], dtype=torch.float64)
    g = torch.ones_like(x)
    tiling = triton._Tiling(triton.FORWARD[8], x, a, b, "A", x, x)
    assert tiling.numbers[-1] == torch.tensor(tiling.numbers[-1], dtype=torch.float32).item() < float("inf")
    actual = [triton.forward(x, a, b, "A"), *present(triton.backward(g, x, a, b, "A"))]
    expected = [reference.forward(x, a, b, "A"), *present(reference.backward(g, x, a, b, "A"))]
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0.0, equal_nan=True)


@needs_triton
@pytest.mark.parametrize(
    "selected", [QUICK, pytest.param(WHOLE, marks=pytest.mark.slow)], ids=["quick", "whole"]
)
def test_in_the_interpreter(selected: str) -> None:
    tests = [
        "tests/kernels/test_accuracy.py",
        "tests/kernels/test_layout.py",
        "tests/kernels/test_dispatch.py",
        "tests/kernels/test_triton.py",
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        *tests,
        "-k",
        selected,
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(dtype: torch.dtype) -> None:
    """The interpreter's answers, and the same bits twice."""
    for version in reference.VERSIONS:
        for groups in (1, 8):
            a, b = (c.cuda() for c in coefficients(groups, (5, 4), version, 0))
            x, g = (
                torch.randn(515, 512, device="cuda").to(dtype),
                torch.randn(515, 512, device="cuda").to(dtype),
            )
            up = torch.randn(515, 1024, device="cuda").to(dtype).chunk(2, dim=-1)[1]
            for other in (None, up):
                actual, again = (
                    [
                        triton.forward(x, a, b, version, other),
                        *present(triton.backward(g, x, a, b, version, up=other)),
                    ]
                    for _ in range(2)
                )
                assert all(torch.equal(one, two) for one, two in zip(actual, again, strict=True))
                expected = [
                    reference.forward(x, a, b, version, other),
                    *present(reference.backward(g, x, a, b, version, other)),
                ]
                for mine, theirs in zip(actual, expected, strict=True):
                    rtol, atol = (1e-2, 1e-2) if dtype == torch.bfloat16 else (1e-4, 1e-3)
                    torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=rtol, atol=atol)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_in_a_cuda_graph() -> None:
    """A captured training step, replayed on new inputs, gives what the eager step gives."""
    act = raft.Rational("gelu").cuda()
    x = torch.randn(64, 512, device="cuda", requires_grad=True)

    def step() -> Tensor:
        act.zero_grad()
        x.grad = None
        loss: Tensor = act(x).square().sum()
        loss.backward()
        return loss

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    captured = [tensor.grad for tensor in (x, act.numerator, act.denominator)]
    with torch.no_grad():
        x.copy_(torch.randn(64, 512, device="cuda"))
    graph.replay()
    replayed = [grad.clone() for grad in captured if grad is not None]
    step()
    eager = [tensor.grad for tensor in (x, act.numerator, act.denominator)]
    torch.testing.assert_close(replayed, eager, rtol=0, atol=0)
