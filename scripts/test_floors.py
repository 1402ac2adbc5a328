"""Run the suite's core with the oldest releases that pyproject.toml allows, or with others.

python scripts/test_floors.py
python scripts/test_floors.py --pin transformers==5.16.* --tests tests/finetuning/test_tuning.py
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
OPTIONAL = ("peft",)
"""Optional dependencies with a floor."""
TOOLS = ("pytest", "hypothesis", "psutil", "tensorboard", "onnx", "onnxscript", "onnxruntime")
FLOOR = re.compile(r'^\s*"([A-Za-z0-9_.-]+)>=([0-9.]+)"', re.MULTILINE)
CORE = (
    "tests/test_modules.py",
    "tests/kernels/test_dispatch.py",
    "tests/hf/test_hf.py",
    "tests/hf/saving/test_saved_rafs.py",
    "tests/hf/test_peft.py",
    "tests/hf/test_fsdp.py",
    "tests/models/test_modeling_raft_bert.py",
    "tests/training/test_training.py",
    "tests/finetuning/test_tuning.py",
    "tests/training/test_checkpoints.py",
    "tests/cli/test_finetune.py",
    "tests/cli/test_pretrain.py",
    "tests/data/text/test_readers.py",
    "tests/data/text/test_corpora.py",
    "tests/data/tasks/test_table_dataset.py",
    "tests/data/text/test_hub_texts.py",
)


def main() -> None:
    """Print the versions and the outcome of each test file; exit with status 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="Of the virtual environment; a temporary one by default.")
    parser.add_argument("--pin", action="append", default=[], help="NAME==VERSION instead of the floor.")
    parser.add_argument("--tests", nargs="+", default=CORE, help="Instead of the suite's core.")
    arguments = parser.parse_args()
    pins = floors(PROJECT.read_text(encoding="utf-8"))
    for pin in arguments.pin:
        name, _, version = pin.partition("==")
        if name not in pins or not version:
            raise SystemExit(f"--pin takes NAME==VERSION with a NAME of {', '.join(pins)}, not {pin}")
        pins[name] = version
    with tempfile.TemporaryDirectory() as temporary:
        python = install(arguments.folder or Path(temporary), pins)
        print_versions(python, pins)
        failed = [file for file in arguments.tests if not passes(python, file)]
    sys.exit(1 if failed else 0)


def floors(project: str) -> dict[str, str]:
    """Version by name, the newest patch of each floor: ``2.10.*`` for ``torch>=2.10``."""
    start = project.index("\ndependencies = [")
    required = FLOOR.findall(project[start : project.index("\n]", start)])
    optional = [(name, floor) for name, floor in FLOOR.findall(project) if name in OPTIONAL]
    return {name: f"{floor}.*" for name, floor in [*required, *optional]}


def install(folder: Path, pins: dict[str, str]) -> Path:
    """Create an environment with the project, the pinned packages and test tools; returns its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pinned = [f"{name}=={version}" for name, version in pins.items()]
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT, *pinned, *TOOLS], check=True)
    return python


def print_versions(python: Path, pins: dict[str, str]) -> None:
    """Print a line a package: its pin and its installed version."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    installed = {
        package["name"].lower().replace("_", "-"): package["version"] for package in json.loads(listed.stdout)
    }
    for name, version in pins.items():
        print(f"{name:20} {version:12} {installed[name.lower().replace('_', '-')]}", flush=True)


def passes(python: Path, file: str) -> bool:
    """Whether the tests of a file pass; prints failures and pytest's last line."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)  # the installed project is tested
    command = [str(python), "-m", "pytest", "-q", "-r", "fE", "--tb", "no", "-p", "no:cacheprovider", file]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = process.stdout.strip().splitlines() or process.stderr.strip().splitlines() or ["no output"]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            print(f"    {line}")
    print(f"{file:45} {lines[-1]}", flush=True)
    return process.returncode == 0


if __name__ == "__main__":
    main()
