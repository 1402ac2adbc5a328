"""Compile every form of the Triton kernels for a GPU that need not be there; a program for test_triton.py.

Triton's interpreter takes code that its compiler refuses. Prints a line for each kernel; given a number, it
compiles so many forms.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import torch

# before the kernels are read, hence E402: torch's build for CPUs would make them plain functions
torch.version.cuda = torch.version.cuda or "13.0"

from raft.kernels import triton as kernels  # noqa: E402
from raft.kernels.reference import CONSTANT_TERM  # noqa: E402

triton: Any = import_module("triton")
compiler: Any = import_module("triton.compiler")
target = import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64"}


def compiled(kernel: Any, launch: kernels.Launch, dtype: torch.dtype, constants: dict[str, Any]) -> Any:
    """A kernel for pointers and strides that are divisible by 16, as those of most tensors."""
    wide = "fp64" if dtype == torch.float64 else "fp32"
    kinds = {"a_ptr": f"*{wide}", "b_ptr": f"*{wide}", "table_ptr": f"*{wide}", "limit": "fp32"}
    kinds |= {"grad_a_ptr": f"*{wide}", "grad_b_ptr": f"*{wide}"}
    signature, attributes, values = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], values[(i,)] = "constexpr", constants[name]
            continue
        signature[name] = kinds.get(name, f"*{DTYPES[dtype]}" if name.endswith("_ptr") else "i32")
        if name.endswith(("_ptr", "stride")) or name in ("channels", "length"):
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = compiler.ASTSource(kernel, signature, values, attributes)
    options = {"num_warps": launch.warps, "maxnreg": launch.registers}
    return triton.compile(source, target=target, options=options)


def stack(machine_code: bytes) -> int:
    """Bytes of a thread's stack: what did not fit into registers."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(machine_code)
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    [actual] = re.findall(r"STACK:(\d+)", done.stdout)
    return int(actual)


def forms() -> Iterator[tuple[torch.dtype, str, tuple[int, int], int, bool, bool]]:
    """Dtype, version, degrees, columns of a tile, whether gated, and whether coefficients are trained."""
    for dtype in (torch.bfloat16, torch.float32):
        yield dtype, "A", (5, 4), 1024, True, True
        yield dtype, "A", (5, 4), 1024, False, False
        yield dtype, "A", (12, 12), 1024, True, True
    for dtype in DTYPES:
        yield dtype, "A", (5, 4), 2048, False, True
    for version in ("B", "C", "N"):
        yield torch.float32, version, (5, 4), 2048, False, True
    yield torch.bfloat16, "A", (5, 4), 64, True, False
    yield torch.bfloat16, "A", (1, 3), 1, False, True


for dtype, version, (m, n), columns, is_gated, is_trained in islice(
    forms(), int(sys.argv[1]) if sys.argv[1:] else None
):
    size = dtype.itemsize
    for name, launch in (
        ("_forward", kernels.forward_launch(size, m + 1 + n)),
        ("_backward", kernels.backward_launch(size, m + 1 + n, is_trained, is_gated)),
    ):
        constants = {"M": m, "N": n, "KIND": kernels.KINDS[version], "CONSTANT": CONSTANT_TERM[version]}
        constants |= kernels.tile_constants(launch, min(columns, launch.block), dtype)
        constants |= {"GATED": is_gated, "SUMS": is_trained}
        bytes_of_stack = stack(compiled(getattr(kernels, name), launch, dtype, constants).asm["cubin"])
        print(name, DTYPES[dtype], version, m, n, columns, is_gated, is_trained, bytes_of_stack)
        assert bytes_of_stack == 0
constants = {"M": 5, "N": 4, "KIND": 0, "AT_ONCE": kernels.TOTAL}
assert stack(compiled(kernels._add_up, kernels.BACKWARD[4], torch.float32, constants).asm["cubin"]) == 0
print("_add_up")
