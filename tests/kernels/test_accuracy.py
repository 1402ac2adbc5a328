"""Every backend against the written-out formulas: random, huge, tiny, zero and infinite inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raft.kernels import cpu, dispatch, formula, reference
from tests.kernels.oracle import coefficients, exact

DEGREES = [(1, 1), (0, 4), (3, 2), (5, 4), (6, 4), (4, 5), (7, 6), (12, 1), (1, 12), (12, 12)]
SPECIAL = [0.0, -0.0, 1e-30, -1e-30, 1e-4, 1.0, -1.0, 1e4, -1e4, 777.0, -31.5, 4096.0, -4096.5]
FLOAT32_ERROR = 2e-6
LAST_PLACE = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""Half a unit in the last place of a number, over the number."""


@pytest.fixture(params=[name for name in dispatch.BACKENDS if dispatch.BACKENDS[name].runs_on("cpu")])
def backend(request: pytest.FixtureRequest) -> dispatch.Backend:
    return dispatch.BACKENDS[request.param]


@pytest.fixture(params=range(3), ids=["plain", "avx2", "avx512"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[int]:
    if not cpu.runs_on("cpu"):
        pytest.skip("the compiled kernel was not built")
    before = cpu.instruction_set()
    if cpu.instruction_set(request.param) != request.param:
        pytest.skip("this processor lacks it")
    yield request.param
    cpu.instruction_set(before)


def inputs(groups: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(9, 40 * groups, generator=generator, dtype=torch.float64)
    x[4, : len(SPECIAL)] = torch.tensor(SPECIAL, dtype=torch.float64)
    if dtype == torch.float16:
        x = x.clamp(-6e4, 6e4)
    return x.to(dtype), torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype)


def check(
    actual: Tensor | None, true: np.ndarray, terms: np.ndarray, relative: float, places: float = 0.0
) -> None:
    assert actual is not None
    largest = torch.finfo(actual.dtype).max
    smallest = torch.finfo(actual.dtype).smallest_normal
    known = np.abs(true) < 0.99 * largest
    values = actual.double().cpu().numpy()
    assert np.isfinite(values[known]).all()
    allowed = relative * terms + places * np.abs(true) + smallest
    excess = (np.abs(values - true) / allowed)[known]
    assert excess.size == 0 or excess.max() <= 1


def check_all(
    backend: dispatch.Backend,
    version: str,
    degrees: tuple[int, int],
    groups: int,
    dtype: torch.dtype,
    is_gated: bool = False,
    device: str = "cpu",
) -> None:
    wide = dtype == torch.float64
    a, b = coefficients(groups, degrees, version, sum(degrees), torch.float64 if wide else torch.float32)
    x, g = inputs(groups, 1, dtype)
    up = inputs(groups, 2, dtype)[1] if is_gated else None
    true = exact(g, x, a, b, version, up)
    relative = 1e-14 if wide else FLOAT32_ERROR
    places = 4 * LAST_PLACE.get(dtype, 0.0)  # two units
    g, x, a, b = (tensor.to(device) for tensor in (g, x, a, b))
    up = None if up is None else up.to(device)
    check(backend.forward(x, a, b, version, up), true.y, true.y_terms, relative, places)
    grad_x, grad_a, grad_b, grad_up = backend.backward(g, x, a, b, version, up=up)
    check(grad_x, true.grad_x, true.grad_x_terms, relative, places)
    check(grad_a, true.grad_a, true.grad_a_terms, relative)
    check(grad_b, true.grad_b, true.grad_b_terms, relative)
    if is_gated:
        check(grad_up, true.grad_up, true.grad_up_terms, relative, places)


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_float32(backend: dispatch.Backend, version: str, degrees: tuple[int, int], groups: int) -> None:
    check_all(backend, version, degrees, groups, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("groups", [1, 4])
def test_gated(backend: dispatch.Backend, version: str, dtype: torch.dtype, groups: int) -> None:
    for degrees in ((5, 4), (6, 4), (7, 6), (12, 12)):
        check_all(backend, version, degrees, groups, dtype, is_gated=True)


@pytest.mark.parametrize("degrees", [(5, 4), (6, 4), (7, 6), (12, 12)])
@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(
    backend: dispatch.Backend, version: str, degrees: tuple[int, int], dtype: torch.dtype
) -> None:
    check_all(backend, version, degrees, 2, dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("is_gated", [False, True], ids=["plain", "gated"])
def test_on_a_gpu(version: str, dtype: torch.dtype, is_gated: bool) -> None:
    for degrees, groups in (((5, 4), 1), ((0, 4), 4)):
        check_all(dispatch.BACKENDS["triton"], version, degrees, groups, dtype, is_gated, "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("version", ["A", "B", "N"])
def test_every_instruction_set(instruction_set: int, version: str, dtype: torch.dtype) -> None:
    for degrees in ((5, 4), (6, 4), (3, 6)):
        for is_gated in (False, True):
            check_all(dispatch.BACKENDS["cpu"], version, degrees, 1, dtype, is_gated)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(reference.VERSIONS),
    st.integers(0, 12),
    st.integers(0, 12),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_any_finite_input(
    version: str, m: int, n: int, values: list[float], seed: int, is_sparse: bool
) -> None:
    a, b = coefficients(1, (m, n), version, seed)
    if is_sparse:  # leading coefficients that are zero
        a[:, 2:], b[:, 2:] = 0, 0
    x = torch.tensor(values, dtype=torch.float32)[None]
    g = torch.ones_like(x)
    true = exact(g, x, a, b, version)
    for name in dispatch.BACKENDS:
        if dispatch.BACKENDS[name].runs_on("cpu"):
            check(dispatch.BACKENDS[name].forward(x, a, b, version), true.y, true.y_terms, FLOAT32_ERROR)
            grads = dispatch.BACKENDS[name].backward(g, x, a, b, version)
            check(grads[0], true.grad_x, true.grad_x_terms, FLOAT32_ERROR)
            check(grads[1], true.grad_a, true.grad_a_terms, FLOAT32_ERROR)
            check(grads[2], true.grad_b, true.grad_b_terms, FLOAT32_ERROR)


@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("degrees", [(5, 4), (4, 4), (3, 4), (3, 3), (4, 3), (12, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_infinity_is_the_limit_and_nan_stays(
    backend: dispatch.Backend, version: str, degrees: tuple[int, int], dtype: torch.dtype
) -> None:
    m, n = degrees
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    a, b = torch.ones(1, m + 1, dtype=wide), torch.full((1, n), 2.0, dtype=wide)
    if version == "N":
        b[:, n % 2 :: 2] = 0
    x = torch.tensor([float("inf"), float("-inf"), float("nan"), 1.0], dtype=dtype)
    y = backend.forward(x, a, b, version)
    is_odd = m % 2 if version in ("A", "B", "C", "D") else (m - n) % 2
    sign = -1.0 if is_odd else 1.0
    size = {1: float("inf"), 0: 0.5, -1: 0.0}[m - n]
    assert y[0] == size
    assert y[1] == sign * size
    assert y[2].isnan()
    assert y[3].isfinite()
    grad_x = backend.backward(torch.ones_like(x), x, a, b, version)[0]
    assert grad_x[0] == (0.5 if m > n else 0.0)
    assert grad_x[2].isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_half_precision_number_is_read_and_rounded_as_torch_does(
    instruction_set: int, dtype: torch.dtype
) -> None:
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    for factor in (1.0, 1.00048828125, 0.333251953125, 3.0e-5):
        y = cpu.forward(x, torch.tensor([0.0, factor]), torch.zeros(0), "A")
        expected = (x.float() * factor).to(dtype)
        assert torch.equal(y.isnan(), expected.isnan())
        known = ~expected.isnan()
        # minus zero is lost where P adds a_0 = +0 to it
        assert torch.equal(y[known] + 0, expected[known] + 0)


LARGEST = {torch.float32: 3.4e38, torch.bfloat16: 3.3e38, torch.float16: 6e4, torch.float64: 1.7e308}


def check_zeros(
    backend: dispatch.Backend, version: str, degrees: tuple[int, int], dtype: torch.dtype
) -> None:
    """Zero times a power that overflows is zero, whichever factor is the zero."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    a, b = (torch.zeros(count, dtype=wide) for count in (degrees[0] + 1, degrees[1]))
    largest = LARGEST[dtype]
    x = torch.tensor([largest, -largest, float("inf"), -float("inf")], dtype=dtype)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    assert (backend.forward(x, a, b, version) == 0).all()
    grad_x, grad_a, grad_b, _ = backend.backward(one, x, a, b, version)
    assert grad_a is not None
    assert grad_a[0] == len(x) / reference.CONSTANT_TERM[version]
    assert grad_b is not None
    assert (grad_b == 0).all()
    assert (grad_x == 0).all()
    a, b = (c[0] for c in coefficients(1, degrees, version, 0, wide))
    assert (backend.forward(x, a, b, version, zero) == 0).all()
    for grad, up in ((zero, None), (zero, one), (one, zero)):
        actual = backend.backward(grad, x, a, b, version, up=up)
        assert all((g == 0).all() for g in actual[:3] if g is not None)
        assert up is not zero or actual[3] is not None
        if grad is zero and up is not None:
            assert actual[3] is not None
            assert (actual[3] == 0).all()


@pytest.mark.parametrize("degrees", [(9, 9), (12, 12), (5, 4), (12, 0), (0, 9), (3, 12)])
@pytest.mark.parametrize("version", reference.VERSIONS)
def test_zero_times_what_overflows(backend: dispatch.Backend, version: str, degrees: tuple[int, int]) -> None:
    for dtype in LARGEST:
        check_zeros(backend, version, degrees, dtype)


@pytest.mark.parametrize("places", [1, 3], ids=["down", "up"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ties_are_rounded_to_even(instruction_set: int, dtype: torch.dtype, places: int) -> None:
    """``places`` halves of the last place above one: half way between two numbers."""
    slope = 1 + places * torch.finfo(dtype).eps / 2
    x = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=dtype).repeat(16)
    a = torch.tensor([0.0, slope, 0.0, 0.0, 0.0, 0.0])
    y = cpu.forward(x, a, torch.zeros(4), "A")
    assert torch.equal(y, (x.double() * slope).to(dtype))
    assert torch.equal(
        y[:1].double(), torch.tensor([1.0 + (places // 2) * 2 * torch.finfo(dtype).eps]).double()
    )


def test_zero_times_what_overflows_in_every_instruction_set(instruction_set: int) -> None:
    for version in reference.VERSIONS:
        check_zeros(dispatch.BACKENDS["cpu"], version, (9, 9), torch.float32)


@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("largest", [3.4e38, -3.4e38])
def test_zero_times_what_overflows_in_the_formula(version: str, largest: float) -> None:
    a, b = torch.zeros(10), torch.zeros(9, requires_grad=True)
    formula.rational(torch.tensor([largest]), a, b, version).sum().backward()
    assert b.grad is not None
    assert (b.grad == 0).all()


@pytest.mark.parametrize("version", reference.VERSIONS)
def test_a_coefficient_at_its_kink_takes_the_derivative_from_above(
    backend: dispatch.Backend, version: str
) -> None:
    a, b = torch.tensor([[1.0, 0.5]]), torch.zeros(1, 4)
    for value in (1.5, -1.5, 1e5, -1e5):
        x = torch.tensor([[value]])
        actual = backend.backward(torch.ones_like(x), x, a, b, version)[2]
        power = abs(value) if version == "A" else value
        y_over_q = (1 + 0.5 * value) / reference.CONSTANT_TERM[version] ** 2
        assert actual is not None
        assert actual[0].tolist() == pytest.approx([-y_over_q * power**k for k in range(1, 5)], rel=1e-5)


@pytest.mark.parametrize("degrees", [(3, 2), (5, 4), (6, 4)])
def test_coefficients_gradients_are_summed_as_well_as_plain_torch_sums(
    instruction_set: int, degrees: tuple[int, int]
) -> None:
    """In float32; errors of many draws together, as in each one they are a matter of luck."""
    mine: list[float] = []
    theirs: list[float] = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        x = 2 * torch.randn(257, 33, generator=generator)
        a = 0.3 * torch.randn(1, degrees[0] + 1, generator=generator)
        b = 0.2 * torch.rand(1, degrees[1], generator=generator)
        g = torch.randn(257, 33, generator=generator)
        true = exact(g, x, a, b, "A")
        a.requires_grad_(), b.requires_grad_()
        traced = torch.autograd.grad(formula.rational(x, a[0], b[0], "A"), (a, b), g)
        actual = cpu.backward(g, x, a.detach(), b.detach(), "A")[1:3]
        for errors, grads in ((mine, actual), (theirs, traced)):
            for grad, value, terms in zip(
                grads, (true.grad_a, true.grad_b), (true.grad_a_terms, true.grad_b_terms), strict=True
            ):
                assert grad is not None
                errors.extend(((grad.double().numpy() - value) / terms).ravel())
    assert np.square(mine).mean() <= np.square(theirs).mean()
