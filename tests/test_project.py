"""The project's files agree: workflows, hooks, forms, changelog, Makefile and pyproject.toml."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stored_scripts import load_script

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(workflow: Any) -> Iterator[str]:
    for job in workflow["jobs"].values():
        for step in job.get("steps", []):
            yield from step.get("run", "").splitlines()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_only_and_run_what_exists(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}  # jobs that need more say so
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 120, name
    for used in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8")):
        assert re.fullmatch(r"\./\.github/workflows/\w+\.yml|[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used)
    for command in commands(workflow):
        for target in re.findall(r"\bmake ([\w-]+)", command):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), command
        for script in re.findall(r"\bscripts/\w+\.py", command):
            assert (ROOT / script).is_file(), command


def test_one_commit_of_each_action() -> None:
    used = {
        pin
        for path in WORKFLOWS
        for pin in re.findall(r"uses: ([\w/-]+@\S+ # \S+)", path.read_text(encoding="utf-8"))
    }
    assert len(used) == len({pin.split("@")[0] for pin in used})


def test_every_supported_python_is_tested() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]
    tested = [row["python"] for row in jobs["test"]["strategy"]["matrix"]["include"]]
    oldest = re.search(r'^requires-python = ">=(.+)"', PROJECT, re.MULTILINE)
    assert oldest is not None
    assert tested[0] == oldest[1]
    minors = [int(version.removeprefix("3.")) for version in tested]
    assert minors == list(range(minors[0], minors[-1] + 1))
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
    assert named == tested
    wheels = (ROOT / "cibuildwheel.toml").read_text(encoding="utf-8")
    tag = f"cp{oldest[1].replace('.', '')}"
    assert f'build = "{tag}-*"' in wheels
    assert f'py-limited-api = "{tag}"' in PROJECT


def test_wheels_are_tested_by_files_that_exist() -> None:
    wheels = (ROOT / "cibuildwheel.toml").read_text(encoding="utf-8")
    files = re.findall(r"\b(?:tests|scripts)/[\w/]+(?:\.py)?", wheels)
    assert len(files) > 3
    for file in files:
        assert (ROOT / file).exists(), file


def test_commits_are_checked_as_by_make_lint() -> None:
    recipe = re.search(r"^lint: setup\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    linted = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    hooks = read(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == linted
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)


def test_the_command_that_a_bug_report_needs_runs() -> None:
    form = read(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")
    description = form["body"][-1]["attributes"]["description"]
    (command,) = re.findall(r"```sh\n(.+)\n```", description)
    python, *arguments = shlex.split(command)
    assert python == "python"
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    assert re.search(r"raft-transformers \S+ torch \S+ transformers \S+ \[.*'reference'\]", done.stdout)


def test_a_release_says_what_the_changelog_says() -> None:
    section = load_script("release_notes").section
    new = "## [1.10.0] - 2027-02-01\n\n### Added\n\n- new\n\n"
    changelog = f"# C\n\n## [Unreleased]\n\nx\n\n{new}## [1.1.0] - 2027-01-01\n\nold\n"
    assert section(changelog, "v1.10.0") == "### Added\n\n- new"
    assert section(changelog, "v1.1.0") == "old"
    for missing in ("v1.1", "v1.1..0", "Unreleased"):
        with pytest.raises(SystemExit, match="no section"):
            section(changelog, missing)


def test_the_changelog_has_a_place_for_what_comes() -> None:
    headings = re.findall(r"^## .+", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
