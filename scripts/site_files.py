"""Hook of mkdocs: files outside of ``docs/`` that the pages show or link to become part of the site.

Pages link to ``../results/…`` by paths in the repository. In the site, files of ``results/`` have the same
names next to the pages, and links to folders lead to sections of the pages of measurements. Numbers are
included, not typed:

``[Table of decoders/table.md](../results/decoders/table.md)``
    a link in the repository, the text of that file in the site;
``[Table of cpu-step/results.csv](../results/cpu-step/results.csv "model, milliseconds, ratio")``
    these columns of it; ``ratio`` is a value with its interval;
``<!-- options: raft.cli.commands.convert.ConvertSettings -->``
    the options of a command, from its dataclass.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

RESULTS = "results"
MEASUREMENTS = ("measurements.md", "measurements-fine-tuning.md", "speed.md")
SHOWN = {".csv", ".json", ".png"}
"""Kinds of files that are copied; models and logs stay in the repository."""

TABLE = re.compile(r"^\[Table of (\S+)\]\(\S+?(?: \"(.+?)\")?\)$", re.MULTILINE)
OPTIONS = re.compile(r"^<!-- options: (\S+)\.(\w+) -->$", re.MULTILINE)
LINK = re.compile(r"\]\((?:\.\./)+results/([^)#\s]+?)/?\)")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the files of ``results/``."""
    folder = _results(config)
    for path in sorted(folder.rglob("*")):
        if path.suffix in SHOWN and path.is_file():
            name = f"{RESULTS}/{path.relative_to(folder).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Insert included files, and redirect links to ``results/`` to its files in the site.

    Raises:
        PluginError: for a file or column that is not there.
    """
    folder = _results(config)

    def shown(match: re.Match[str]) -> str:
        file = folder / match[1]
        if match[2]:
            return table(file, match[2].split(", "))
        try:
            return file.read_text(encoding="utf-8").rstrip()
        except OSError as error:
            raise PluginError(f"{page.file.src_uri} shows {match[1]}: {error.strerror}") from error

    def target(match: re.Match[str]) -> str:
        up = "../" * page.file.src_uri.count("/")
        if not (folder / match[1]).is_dir():
            return f"]({up}{RESULTS}/{match[1]})"
        return f"]({up}{page_of(match[1], Path(config.docs_dir))}#{match[1]})"

    markdown = TABLE.sub(shown, markdown)
    markdown = OPTIONS.sub(lambda match: options(match[1], match[2]), markdown)
    return LINK.sub(target, markdown)


def page_of(name: str, docs: Path) -> str:
    """The page of measurements with a section of a folder of ``results/``."""
    pages = (page for page in MEASUREMENTS if f'id="{name}"' in (docs / page).read_text(encoding="utf-8"))
    return next(pages, MEASUREMENTS[0])


def table(file: Path, columns: list[str]) -> str:
    """Columns of a CSV file as a Markdown table; numbers right-aligned, with four significant digits."""
    try:
        rows = pd.read_csv(file)
        if "ratio" in columns:
            intervals = zip(rows.ratio_value, rows.ratio_low, rows.ratio_high, strict=True)
            rows["ratio"] = [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in intervals]
        rows = rows[columns]
    except (OSError, KeyError, AttributeError) as error:
        raise PluginError(f"a page shows {', '.join(columns)} of {file}: {error}") from error
    rules = ["---:" if pd.api.types.is_numeric_dtype(rows[name]) else "---" for name in columns]
    heads = [name.replace("_", " ") for name in columns]
    lines = [heads, rules, *([_cell(value) for value in row] for row in rows.itertuples(index=False))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def options(module: str, name: str) -> str:
    """The options of a settings class as a Markdown table, without those of ``transformers``."""
    from transformers import TrainingArguments  # slow to import, and few pages need it

    inherited = {field.name for field in fields(TrainingArguments)}
    own = [field for field in fields(getattr(import_module(module), name)) if field.name not in inherited]
    lines = ["| option | default | |", "| --- | --- | --- |"]
    for field in own:
        is_flag = not field.metadata.get("positional")
        shown = f"--{field.name}" if is_flag else field.metadata.get("metavar", field.name)
        text = field.metadata.get("help", "").replace("%%", "%").replace("|", "\\|")
        lines.append(f"| `{shown}` | {_default(field)} | {text} |")
    return "\n".join(lines)


def _default(option: Field[Any]) -> str:
    value = option.default if option.default_factory is MISSING else option.default_factory()
    if value is MISSING or value is None or value in ("", []) or option.metadata.get("positional"):
        return ""
    return f"`{' '.join(map(str, value)) if isinstance(value, list) else value}`"


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if not isinstance(value, float):
        return str(value) if isinstance(value, str) else f"{value:,}"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def _results(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent / RESULTS
