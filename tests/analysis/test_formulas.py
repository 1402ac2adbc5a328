"""Files of formulas are read back by those that they are for."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import raft
from raft.analysis.formulas import KINDS, format_functions
from raft.coefficients.closed_form import RationalFunction

FUNCTIONS = {
    f"bert.layer.{number}.act_fn": RationalFunction(
        (0.1, number + 0.5), (0.3,), "AB"[number], [None, "gelu"][number], f"bert.layer.{number}.act_fn"
    )
    for number in range(2)
}
X = np.linspace(-3, 3, 31)


def test_json_is_read_by_modules() -> None:
    records = json.loads(format_functions(FUNCTIONS, ".json"))
    assert [record["site"] for record in records] == list(FUNCTIONS)
    for record, function in zip(records, FUNCTIONS.values(), strict=True):
        act = raft.Rational.from_json(json.dumps(record))
        np.testing.assert_allclose(act.functions()[0](X), function(X), atol=1e-6)


def test_python_is_run_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    made: dict[str, Any] = {}
    exec(format_functions(FUNCTIONS, ".py"), made)
    assert list(made["RAFS"]) == list(FUNCTIONS)
    assert made["RAFS"]["bert.layer.0.act_fn"] is made["layer_0"]
    for site, function in FUNCTIONS.items():
        np.testing.assert_allclose([made["RAFS"][site](float(x)) for x in X], function(X))


def test_latex_has_a_line_a_raf() -> None:
    lines = format_functions(FUNCTIONS, ".tex").splitlines()
    assert lines[0] == "\\begin{align*}"
    assert lines[1] == r"f_{\text{layer.0}}(x) &= \frac{0.1 + 0.5\,x}{1 + |0.3\,x|} \\"
    assert lines[2].startswith(r"f_{\text{layer.1}}(x) &= x\,\Phi(x) + \frac")
    assert lines[3] == "\\end{align*}"
    assert len(lines) == len(FUNCTIONS) + 2
    assert set(KINDS) == {".json", ".tex", ".py"}


def test_names_are_safe() -> None:
    odd = {"a_b.1": RationalFunction((1.0,), ()), "a_b.2-c": RationalFunction((2.0,), ())}
    assert r"\text{a\_b.1}" in format_functions(odd, ".tex")
    made: dict[str, Any] = {}
    exec(format_functions(odd, ".py"), made)
    assert made["RAFS"]["a_b.2-c"](0.0) == 2
