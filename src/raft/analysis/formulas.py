"""The RAFs of a model as one file for other tools: JSON, LaTeX, Python."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from keyword import iskeyword

from raft.analysis.learned import shorten_names
from raft.coefficients.closed_form import RationalFunction

KINDS = (".json", ".tex", ".py")
LATEX = str.maketrans(
    {
        "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%",
        "_": "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}",
        "±": "$\\pm$", "−": "$-$", "→": "$\\to$",
    }
)  # fmt: skip


def to_json(functions: Mapping[str, RationalFunction]) -> str:
    """A list of records, one a RAF (one a group, with the same site); those of one site, as JSON, are what
    :meth:`raft.Rational.from_json` reads."""
    return json.dumps([function.record() for function in functions.values()], indent=1) + "\n"


def to_latex(functions: Mapping[str, RationalFunction], digits: int = 4) -> str:
    """An ``align*`` of one line a RAF; needs amsmath.

    Args:
        functions: by site.
        digits: significant, of each coefficient.
    """
    lines = []
    for name, function in zip(shorten_names(list(functions)).values(), functions.values(), strict=True):
        formula = function.latex(digits).replace("f(x) =", rf"f_{{\text{{{escape_latex(name)}}}}}(x) &=", 1)
        lines.append(formula)
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}\n"


def to_python(functions: Mapping[str, RationalFunction]) -> str:
    """Format a Python module of one function per RAF, and ``RAFS``, which has them by site."""
    parts: list[str] = []
    names: dict[str, str] = {}
    for site, short in shorten_names(list(functions)).items():
        name = re.sub(r"\W", "_", short)
        name = f"raf_{name}" if name[0].isdigit() or iskeyword(name) else name
        while name in names.values():
            name += "_"
        names[site] = name
        parts.append(functions[site].python(name).removeprefix("import math\n\n\n"))
    table = "RAFS = {\n" + "".join(f"    {site!r}: {name},\n" for site, name in names.items()) + "}\n"
    text = "\n\n".join([*parts, table])
    return ("import math\n\n\n" if "math." in text else "") + text


def format_functions(functions: Mapping[str, RationalFunction], kind: str) -> str:
    """The text of a file that ends with ``kind``, one of ``KINDS``."""
    makers = dict(zip(KINDS, (to_json, to_latex, to_python), strict=True))
    return makers[kind](functions)


def escape_latex(text: str) -> str:
    """Text as LaTeX shows it, in one line: none of it is a command."""
    return " ".join(text.splitlines()).translate(LATEX)
