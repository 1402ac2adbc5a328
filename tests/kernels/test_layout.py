"""Any shape and strides, any number of threads, memory that is not clean, forked workers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import raft
from raft.kernels import cpu, dispatch, reference
from tests.kernels.oracle import coefficients, present

needs_kernel = pytest.mark.skipif(not cpu.runs_on("cpu"), reason="the compiled kernel was not built")


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """New tensors are full of NaN."""
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory
    yield
    torch.use_deterministic_algorithms(False)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Tensor, int]:
    """A view of some tensor, and a number of groups that divides its last axis."""
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    groups = draw(st.sampled_from([1, 1, 2, 4])) if shape else 1
    if shape:
        shape[-1] = groups * draw(st.integers(0, 40))
    steps = draw(st.lists(st.sampled_from([1, 1, 2]), min_size=len(shape), max_size=len(shape)))
    axes = draw(st.permutations(range(len(shape))))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]))
    whole = [size * step for size, step in zip(shape, steps, strict=True)]
    inverse = [axes.index(axis) for axis in range(len(axes))]
    base = torch.randn([whole[axis] for axis in axes], generator=torch.Generator().manual_seed(0))
    view = base.to(dtype).permute(inverse)[tuple(slice(None, None, step) for step in steps)]
    if draw(st.booleans()) and view.dim() > 1 and view.shape[0] > 0:
        view = view[:1].expand(view.shape)
    assert list(view.shape) == shape
    return view, groups


def steps(tensor: Tensor) -> list[int]:
    """Strides of the axes that are more than one long; of the others they mean nothing."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


@pytest.fixture(params=["cpu", "reference"])
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """In use while the test runs."""
    if not dispatch.BACKENDS[request.param].runs_on("cpu"):
        pytest.skip("the compiled kernel was not built")
    before = dict(dispatch._chosen)
    dispatch._chosen["cpu"] = dispatch.BACKENDS[request.param]
    yield request.param
    dispatch._chosen.clear()
    dispatch._chosen.update(before)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts(), st.sampled_from(["A", "C", "N"]), st.booleans())
def test_shapes_and_strides(kernel: str, layout: tuple[Tensor, int], version: str, is_expanded: bool) -> None:
    view, groups = layout
    wide = torch.float64 if view.dtype == torch.float64 else torch.float32
    a, b = coefficients(groups, (5, 4), version, 0, wide)
    grad = torch.ones((), dtype=view.dtype).expand(view.shape) if is_expanded else torch.randn_like(view)
    expected = reference.forward(view.contiguous(), a, b, version)
    expected_grads = reference.backward(grad.contiguous(), view.contiguous(), a, b, version)[:3]
    x = view.detach().requires_grad_()
    a.requires_grad_(), b.requires_grad_()
    y = raft.rational(x, a, b, version)
    assert (y.shape, y.dtype) == (view.shape, view.dtype)
    if groups == 1 and view.numel():
        assert steps(y) == steps(torch.nn.functional.gelu(view))
    torch.testing.assert_close(y, expected)
    actual = torch.autograd.grad(y, (x, a, b), grad)
    for mine, theirs in zip(actual, expected_grads, strict=True):
        torch.testing.assert_close(
            mine, theirs.to(mine.dtype), rtol=1e-2 if view.element_size() == 2 else 1e-4, atol=1e-3
        )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts(), st.sampled_from(["same", "contiguous", "half", "expanded"]))
def test_shapes_and_strides_of_both_gated_inputs(kernel: str, layout: tuple[Tensor, int], kind: str) -> None:
    view, groups = layout
    a, b = coefficients(
        groups, (5, 4), "A", 0, torch.float64 if view.dtype == torch.float64 else torch.float32
    )
    up = torch.randn_like(view)
    if kind == "contiguous":
        up = up.contiguous()
    elif kind == "half" and view.dim():
        up = torch.cat([up, up], dim=-1).chunk(2, dim=-1)[1]
    elif kind == "expanded":
        up = torch.ones((), dtype=view.dtype).expand(view.shape)
    inputs = (view.detach().requires_grad_(), up.detach().requires_grad_())
    rtol = 1e-2 if view.element_size() == 2 else 1e-4
    y = raft.rational_glu(*inputs, a.requires_grad_(), b.requires_grad_())
    wide, wide_up = (t.detach().double().requires_grad_() for t in inputs)
    apart = raft.rational(wide, a.double(), b.double()) * wide_up
    torch.testing.assert_close(y, apart.to(view.dtype), rtol=rtol, atol=1e-3)
    grad = torch.randn_like(view)
    actual = torch.autograd.grad(y, (*inputs, a, b), grad)
    expected = torch.autograd.grad(apart, (wide, wide_up, a, b), grad.double())
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=rtol, atol=1e-3)


@needs_kernel
def test_the_halves_of_a_projection_are_not_copied() -> None:
    projected = torch.randn(64, 2 * 256)
    gate, up = projected.chunk(2, dim=-1)
    act = raft.Rational("silu").requires_grad_(False)
    with torch.profiler.profile(profile_memory=True) as profile:
        y = raft.rational_glu(gate, up, act.numerator, act.denominator)
        grads = cpu.backward(y, gate, act.numerator, act.denominator, "A", False, up)
    allocated = sum(event.self_cpu_memory_usage for event in profile.events())
    assert [None if tensor is None else tensor.shape for tensor in grads] == [y.shape, None, None, y.shape]
    assert allocated == 3 * y.numel() * 4  # the output and two gradients


@pytest.mark.parametrize(("groups", "rows"), [(1, 301), (8, 301), (256, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_threads_gives_the_same_bits(
    kernel: str, dtype: torch.dtype, groups: int, rows: int
) -> None:
    backend = dispatch.BACKENDS[kernel]
    a, b = coefficients(groups, (5, 4), "A", 0)
    shape = rows, 512 * max(1, groups // 8)
    x, g = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    before = torch.get_num_threads()
    actual = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        grads = present(backend.backward(g, x, a, b, "A", up=x))
        assert len(grads) == 4
        actual.append([backend.forward(x, a, b, "A", g), *grads])
    torch.set_num_threads(before)
    for other in actual[1:]:
        assert all(torch.equal(one, two) for one, two in zip(actual[0], other, strict=True))


@needs_kernel
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_blocks_with_groups_of_their_own_have_the_gradients_of_the_reference(rows: int) -> None:
    groups = 100
    a, b = coefficients(groups, (5, 4), "A", 0)
    x, g = torch.randn(2, rows, groups * 700).unbind()
    expected = present(reference.backward(g.double(), x.double(), a.double(), b.double(), "A"))
    for actual, exact in zip(present(cpu.backward(g, x, a, b, "A")), expected, strict=True):
        torch.testing.assert_close(actual.double(), exact, rtol=1e-5, atol=1e-4)


@needs_kernel
@pytest.mark.parametrize("size", [1, 31, 1024, 1025, 40_000])
@pytest.mark.parametrize("groups", [1, 3])
def test_all_of_the_output_is_written(size: int, groups: int, poisoned_memory: None) -> None:
    a, b = coefficients(groups, (5, 4), "A", 0)
    assert torch.empty(3).isnan().all()
    for x in (torch.randn(size * groups), torch.randn(2, 3, size * groups)[::2, :, :]):
        assert cpu.forward(x, a, b, "A").isfinite().all()
        grads = present(cpu.backward(x, x, a, b, "A", up=x))
        assert len(grads) == 4
        assert all(t.isfinite().all() for t in grads)


@needs_kernel
def test_frozen_coefficients_have_no_sums() -> None:
    a, b = coefficients(1, (5, 4), "A", 0)
    x = torch.randn(100)
    grads = cpu.backward(x, x, a, b, "A", coefficients=False)
    assert grads[0].shape == x.shape
    assert grads[1:] == (None, None, None)
    act = raft.Rational().requires_grad_(False)
    x.requires_grad_()
    act(x).sum().backward()
    assert x.grad is not None
    assert act.numerator.grad is None


class Activated(Dataset[float]):
    """Activates each of its inputs where it is read."""

    def __init__(self) -> None:
        self.act = raft.Rational()
        self.inputs = [torch.full((200, 3072), float(i)) for i in range(4)]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> float:
        torch.set_num_threads(2)
        with torch.no_grad():
            return round(float(self.act(self.inputs[i])[-1, -1]), 1)


@needs_kernel
def test_a_forked_worker_does_not_hang() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    data = Activated()
    data.act(data.inputs[0]).sum().backward()  # threads are up
    loader = DataLoader(data, num_workers=1, batch_size=None, multiprocessing_context="fork", timeout=60)
    assert list(loader) == [-0.0, 0.8, 2.0, 3.0]
    torch.set_num_threads(before)


@needs_kernel
def test_torchs_own_threads_are_used() -> None:
    code = "from raft.kernels import cpu; assert cpu.library().raft_rational_has_threads() == 1"
    code += "; print(open('/proc/self/maps').read())"  # in a process of its own: others may load another
    maps = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert len({line.split()[-1] for line in maps.splitlines() if "libgomp" in line}) == 1


def test_without_the_kernel_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu, "__file__", str(tmp_path / "cpu.py"))
    monkeypatch.setattr(dispatch, "_chosen", {})
    cpu.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "raft"):
            for _ in range(3):
                act = raft.Rational()
                act(torch.randn(5)).sum().backward()
        assert len(caplog.records) == 1
        assert "install a C++ compiler" in caplog.text
        assert act.numerator.grad is not None
    finally:
        cpu.library.cache_clear()


@pytest.mark.slow
@needs_kernel
def test_more_than_two_to_the_31_elements() -> None:
    count = 2**31 + 77
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") < 4.2 * 2 * count:
        pytest.skip("needs 18 GB of free memory")
    x = torch.zeros(count, dtype=torch.bfloat16)
    x[-3:] = 1.0
    a, b = torch.tensor([0.0, 0.5, 0.5]), torch.tensor([1.0])
    y = cpu.forward(x, a, b, "A")
    assert y[-3:].tolist() == [0.5] * 3
    assert y[-4] == y[0] == 0
    assert y.count_nonzero() == 3
    del y
    grad_x, grad_a, _, _ = cpu.backward(x, x, a, b, "A")
    assert grad_x.count_nonzero() == 3
    assert grad_a is not None
    assert grad_a.tolist() == [1.5, 1.5, 1.5]


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_a_gradient_that_is_negated_lazily(shape: tuple[int, ...]) -> None:
    a, b = coefficients(1, (5, 4), "A", 0)

    def gradient(is_lazy: bool) -> Tensor:
        x = torch.full(shape, 0.7, requires_grad=True)
        y = raft.rational(x, a, b)
        z = torch.complex(torch.zeros_like(y), y)
        z = z.conj() if is_lazy else torch.complex(z.real, -z.imag)
        (z * (1 + 2j)).real.sum().backward()
        assert x.grad is not None
        return x.grad

    torch.testing.assert_close(gradient(is_lazy=True), gradient(is_lazy=False))
