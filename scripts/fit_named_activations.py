"""Make src/raft/coefficients/named.json, the table of stored fits, and print each fit's error (a minute)."""

from __future__ import annotations

import json
from pathlib import Path

import raft.coefficients.named as named
from raft.coefficients.fitting import fit


def main() -> None:
    """Fit every named function at every degree and version of the table."""
    rows = []
    for name in named.NAMED_FUNCTIONS:
        for version in named.TABLE_VERSIONS:
            for degrees in named.table_degrees(name):
                interval = named.table_interval(name, degrees)
                fitted = fit(name, degrees, version, interval=interval)
                print(f"{name:12s} {version} {degrees!s:8s} max error {fitted.max_error:.2e}")
                values = {
                    "numerator": fitted.numerator,
                    "denominator": fitted.denominator,
                    "max_error": fitted.max_error,
                    "rms_error": fitted.rms_error,
                }
                rows.append(f"{json.dumps(named.table_key(name, degrees, version))}: {json.dumps(values)}")
    Path(named.__file__).with_name("named.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
