"""Tables in README and docs are those of ``results/``."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from tests.stored_scripts import load_script, needs_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
MEASUREMENTS = [
    ROOT / "docs" / name for name in ("measurements.md", "measurements-fine-tuning.md", "speed.md")
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("copy_tables")


@needs_results
def test_pages_hold_the_tables_of_the_results(script: ModuleType) -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in script.pages()}
    assert sum(len(script.COPY.findall(text)) for text in texts.values()) > 2
    for page, text in texts.items():
        assert script.insert_tables(text) == text, f"{page.name}: run scripts/copy_tables.py"
        assert text.count("<!-- from:") == len(script.COPY.findall(text)), f"{page.name}: an end is missing"


def test_a_table_is_found_by_its_number(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tables.md").write_text("First\n\n| a |\n| --- |\n\nSecond\n\n| b |\n| --- |\n")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    text = "x\n<!-- from: tables.md, table 2 -->\nold\n<!-- end -->\ny"
    assert script.insert_tables(text) == (
        "x\n<!-- from: tables.md, table 2 -->\n\n| b |\n| --- |\n\n<!-- end -->\ny"
    )
    with pytest.raises(KeyError):
        script.insert_tables(text.replace("table 2", "table 3"))


def test_a_table_is_cut_to_its_first_rows_and_columns(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    table = "| a | b | c |\n| --- | ---: | ---: |\n| 1 | 2 | 3 |\n| 4 | 5 | 6 |\n"
    (tmp_path / "results" / "tables.md").write_text(table)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    mark = "<!-- from: tables.md, 1 rows, 2 columns -->\n"
    assert script.insert_tables(f"{mark}old\n<!-- end -->\n") == (
        f"{mark}\n| a | b |\n| --- | ---: |\n| 1 | 2 |\n\n<!-- end -->\n"
    )


def test_folders_that_pages_link_to_have_a_section_of_the_measurements() -> None:
    measurements = "".join(page.read_text(encoding="utf-8") for page in MEASUREMENTS)
    links = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"\]\((?:\.\./)+results/([\w-]+)\)", page.read_text(encoding="utf-8"))
    }
    assert len(links) > 5
    assert sorted(name for name in links if f'id="{name}"' not in measurements) == []


@needs_results
@pytest.mark.parametrize("page", ["results.md", "experiments/at-chance.md", "log.md"])
def test_differences_that_a_page_quotes_are_in_a_table_of_the_results(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    quoted = re.findall(r"[−+]\d+\.\d+\s\[[^]]*\]", text)
    assert len(quoted) > 3
    tables = [file.read_text(encoding="utf-8") for file in sorted(RESULTS.rglob("*.md"))]
    for difference in quoted:
        words = " ".join(difference.split())
        assert any(words in table for table in tables), words


@needs_results
def test_the_measurements_show_files_that_are_there() -> None:
    measurements = "".join(page.read_text(encoding="utf-8") for page in MEASUREMENTS)
    links = re.findall(r'^\[Table of (\S+)\]\(../results/(\S+?)(?: "(.+?)")?\)$', measurements, re.MULTILINE)
    assert len(links) > 15
    for name, address, columns in links:
        assert (RESULTS / name).is_file(), name
        assert address == name
        if not columns:
            continue
        wanted = {*columns.split(", ")}
        if "ratio" in wanted:  # is shown with its interval
            wanted = wanted - {"ratio"} | {"ratio_value", "ratio_low", "ratio_high"}
        assert wanted <= {*pd.read_csv(RESULTS / name).columns}, name
