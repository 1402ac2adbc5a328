"""Atomic writing and validated reading of files; an error of either is one line that names the file."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import re
import reprlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from safetensors import SafetensorError

from raft.errors import InputError, WriteError, first_line

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
WEIGHTS = "model.safetensors"
DISK_FULL = "the disk is full"

INT_LIMIT = 1 << 63
"""Larger integers do not fit into numpy and torch."""

T = TypeVar("T")


# ---- writing ----


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; see ``atomic_write``."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_write(path) as file:
        file.write_bytes(content)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix, which replaces the file, synced, when the block succeeds.

    It is removed when the block fails. The file's folder is created where it does not exist.

    Raises:
        InputError: where the folder cannot be written to.
        WriteError: where the disk is full, or fails.
    """
    check_writable(path)
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        with writing(path):
            yield unfinished
            _sync(unfinished)
            unfinished.replace(path)
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise ``InputError`` where a file could not be written: before the work for it begins."""
    reason = "it is a folder" if path.is_dir() or not path.name else find_write_error(path.parent)
    if reason:
        raise InputError(f"cannot write to {path if path.is_dir() else path.parent}: {reason}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise errors of writing a file, of any library, as one line that names it."""
    try:
        yield
    except WriteError:
        raise
    except (OSError, SafetensorError) as error:
        raise WriteError(path, write_error_reason(error)) from error


def save_pretrained(saved: Any, folder: Path) -> None:
    """Write a model or a tokenizer of ``transformers`` into a folder; errors are as in ``atomic_write``."""
    try:
        saved.save_pretrained(folder)
    except WriteError:
        raise
    except Exception as error:  # tokenizers raise it bare
        is_safetensors = isinstance(error, SafetensorError)
        if not (is_safetensors or isinstance(error, OSError) or "os error" in str(error)):
            raise
        file = WEIGHTS if is_safetensors else getattr(error, "filename", None) or ""
        raise WriteError(folder / file, write_error_reason(error)) from error


@contextmanager
def staging_folder(unfinished: Path, final: Path) -> Iterator[Path]:
    """Yield an empty folder to fill and ``publish``; what is left of it is removed when the block ends.

    Errors of writing name the files by their final paths.
    """
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with writing(unfinished):
            unfinished.mkdir(parents=True)
        yield unfinished
    except WriteError as error:
        if not error.path.is_relative_to(unfinished):
            raise
        raise WriteError(final / error.path.relative_to(unfinished), error.reason) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def publish(unfinished: Path, final: Path) -> None:
    """Sync a folder to the disk, and rename it to its final name."""
    for path in unfinished.rglob("*"):
        if path.is_file():
            _sync(path)
    sync_folders(unfinished)
    unfinished.rename(final)
    sync_folder(final.parent)


def write_error_reason(error: BaseException) -> str:
    """The reason of an error of writing, in a few words."""
    # torch and safetensors report a full disk by errors of their own, with or without the system's message
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) in DISK_FULL_ERRNOS or re.search(
        r"No space left|StorageFull|quota", text
    ):
        return DISK_FULL
    return getattr(error, "strerror", None) or text[:200] or type(error).__name__


def find_write_error(folder: Path) -> str | None:
    """The reason why a folder, created where it does not exist, cannot be written to; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return write_error_reason(error)
    return None if os.access(folder, os.W_OK | os.X_OK) else "permission denied"


def sync_folders(folder: Path) -> None:
    """Sync the entries of a folder and of its subfolders to the disk."""
    for path in [*filter(Path.is_dir, folder.rglob("*")), folder]:
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to the disk."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by some network file systems
            raise
    finally:
        os.close(descriptor)


def _sync(file: Path) -> None:
    with file.open("r+b") as opened:  # Windows syncs only what may be written
        os.fsync(opened.fileno())


# ---- reading ----


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: where it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def read_json(path: Path, kind: type[T], what: str) -> T:
    """Read a JSON file and :func:`validate` its content.

    Args:
        path: of the file.
        kind: type of its content, such as a dataclass or ``dict[str, float]``.
        what: the same, in words.

    Raises:
        InputError: where it cannot be read, or holds anything else.
    """
    return parse(path, read_text(path), json.loads, kind, what)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read the keys and values of a YAML file; raises as :func:`read_json` does."""
    return parse(path, read_text(path), yaml.safe_load, dict[str, Any], what)


def parse(path: Path, text: str, loads: Callable[[str], Any], kind: type[T], what: str) -> T:
    """Parse and validate the text of a file; raises as :func:`read_json` does."""
    try:
        return validate(loads(text), kind)
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        raise InputError(f"{path} holds no {what}: {first_line(error)}") from error
    except RecursionError as error:
        raise InputError(f"{path} holds no {what}: it is nested too deeply") from error


def validate(value: Any, kind: type[T], name: str = "it") -> T:
    """Convert a JSON value to a dataclass, list, tuple, dictionary, number or text, recursively.

    Args:
        value: parsed.
        kind: its type; numbers must be finite.
        name: of the value, for messages.

    Raises:
        ValueError: where it is of another type, has other keys than the dataclass, or lacks one.
    """
    validated: T = _validate(value, kind, name)
    return validated


def _validate(value: Any, kind: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if NoneType in inner:
        (other,) = (argument for argument in inner if argument is not NoneType)
        return None if value is None else _validate(value, other, name)
    if dataclasses.is_dataclass(kind):
        return _validate_dataclass(value, kind, name)
    if origin is list:
        _require(isinstance(value, list), value, "a list", name)
        return [_validate(item, inner[0], f"{name}[{i}]") for i, item in enumerate(value)]
    if origin is tuple:
        _require(isinstance(value, list) and len(value) == len(inner), value, f"{len(inner)} values", name)
        return tuple(_validate(item, type_, name) for item, type_ in zip(value, inner, strict=True))
    if origin is dict:
        _require(isinstance(value, dict), value, "an object of keys and values", name)
        keys = {key: _validate(key, inner[0], f"a key of {name}") for key in value}
        return {keys[key]: _validate(item, inner[1], _path(name, key)) for key, item in value.items()}
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _require(is_number and math.isfinite(value), value, "a finite number", name)
        return float(value)
    expected = {int: "a whole number", str: "a text", bool: "true or false"}
    is_valid = isinstance(value, kind)
    if kind is int:
        is_valid = is_valid and not isinstance(value, bool) and abs(value) < INT_LIMIT
    _require(is_valid, value, expected[kind], name)
    return value


def _validate_dataclass(value: Any, kind: Any, name: str) -> Any:
    _require(isinstance(value, Mapping), value, "an object of keys and values", name)
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in value if key not in fields]
    if unknown:
        raise ValueError(f"{name} has an unknown key {reprlib.repr(unknown[0])}")
    for key, field in fields.items():
        has_default = field.default is not field.default_factory  # both MISSING where there is none
        if key not in value and not has_default:
            raise ValueError(f"{name} has no {key!r}")
    return kind(**{key: _validate(value[key], hints[key], _path(name, key)) for key in value})


def _path(name: str, key: object) -> str:
    return str(key) if name == "it" else f"{name}.{key}"


def _require(condition: bool, value: object, expected: str, name: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {expected}, not {reprlib.repr(value)}")
