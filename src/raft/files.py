"""Files that are whole or not there, and read as what they should be; an error of either is one line that
names the file."""

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

FULL = (errno.ENOSPC, errno.EDQUOT)
WEIGHTS = "model.safetensors"
DISK_FULL = "the disk is full"

LARGEST = 1 << 63
"""Beyond what numpy and torch take as a whole number."""

T = TypeVar("T")


# ---- writing ----


def write_text(path: Path, text: str) -> None:
    """Write a file that others see either not at all or complete; see ``replacing``."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same of any content."""
    with replacing(path) as file:
        file.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside a file, which takes the file's place, on the disk, when the block ends well.

    It ends as the file's name does; nothing is left of it where the block fails.

    Raises:
        InputError: where the file's folder, which is made where it does not exist, cannot be written to.
        WriteError: where the disk is full, or fails.
    """
    check_writable(path)
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        with named_failures(path):
            yield unfinished
            _sync(unfinished)
            unfinished.replace(path)
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise ``InputError`` where no file can be written: before work goes into what it would hold."""
    reason = "it is a folder" if path.is_dir() or not path.name else hindrance(path.parent)
    if reason:
        raise InputError(f"cannot write to {path if path.is_dir() else path.parent}: {reason}")


@contextmanager
def named_failures(path: Path) -> Iterator[None]:
    """Errors of writing a file, of any library, as one line that names it."""
    try:
        yield
    except WriteError:
        raise
    except (OSError, SafetensorError) as error:
        raise WriteError(path, write_failure(error)) from error


def save_pretrained(saved: Any, folder: Path) -> None:
    """Write a model or a tokenizer of ``transformers`` into a folder; errors are as in ``replacing``."""
    try:
        saved.save_pretrained(folder)
    except WriteError:
        raise
    except Exception as error:  # tokenizers' kind
        is_of_weights = isinstance(error, SafetensorError)
        if not (is_of_weights or isinstance(error, OSError) or "os error" in str(error)):
            raise
        file = WEIGHTS if is_of_weights else getattr(error, "filename", None) or ""
        raise WriteError(folder / file, write_failure(error)) from error


@contextmanager
def working_folder(unfinished: Path, final: Path) -> Iterator[Path]:
    """An empty folder to fill, which is removed when the block ends: it should have its final name by then.

    Errors of writing name the files as they would be called in the end.
    """
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with named_failures(unfinished):
            unfinished.mkdir(parents=True)
        yield unfinished
    except WriteError as error:
        if not error.path.is_relative_to(unfinished):
            raise
        raise WriteError(final / error.path.relative_to(unfinished), error.reason) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def publish(unfinished: Path, final: Path) -> None:
    """Bring all of a folder to the disk, and give it its name."""
    for path in unfinished.rglob("*"):
        if path.is_file():
            _sync(path)
    sync_folders(unfinished)
    unfinished.rename(final)
    sync_folder(final.parent)


def write_failure(error: BaseException) -> str:
    """Why something could not be written, in a few words."""
    # torch and safetensors report a full disk as errors of their own, with or without the system's words
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) in FULL or re.search(r"No space left|StorageFull|quota", text):
        return DISK_FULL
    return getattr(error, "strerror", None) or text[:200] or type(error).__name__


def hindrance(folder: Path) -> str | None:
    """Why a folder, which is made where it does not exist, cannot be written to; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return write_failure(error)
    return None if os.access(folder, os.W_OK | os.X_OK) else "permission denied"


def sync_folders(folder: Path) -> None:
    """Bring the names in a folder, and in those below it, to the disk."""
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
            raise
    finally:
        os.close(descriptor)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


# ---- reading ----


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        InputError: where it cannot be read, or is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def read_json(path: Path, kind: type[T], what: str) -> T:
    """What a JSON file holds, as :func:`typed` makes it.

    Args:
        path: of the file.
        kind: what it should hold, such as a dataclass or ``dict[str, float]``.
        what: the same, in words.

    Raises:
        InputError: where it cannot be read, or holds anything else.
    """
    return parsed(path, read_text(path), json.loads, kind, what)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file; raises as :func:`read_json` does."""
    return parsed(path, read_text(path), yaml.safe_load, dict[str, Any], what)


def parsed(path: Path, text: str, parse: Callable[[str], Any], kind: type[T], what: str) -> T:
    """Text of a file as what it should hold; raises as :func:`read_json` does."""
    try:
        return typed(parse(text), kind)
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        raise InputError(f"{path} holds no {what}: {first_line(error)}") from error
    except RecursionError as error:
        raise InputError(f"{path} holds no {what}: it is nested too deeply") from error


def typed(value: Any, kind: type[T], name: str = "it") -> T:
    """A value of JSON as a dataclass, list, tuple, dictionary, number or text, all within it too.

    Args:
        value: parsed.
        kind: of what it should be; numbers must be finite.
        name: of the value, for messages.

    Raises:
        ValueError: where it is anything else, has other keys than the dataclass, or lacks one.
    """
    found: Any = _typed(value, kind, name)
    return found  # type: ignore[no-any-return]


def _typed(value: Any, kind: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if NoneType in inner:
        (other,) = (each for each in inner if each is not NoneType)
        return None if value is None else _typed(value, other, name)
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(value, kind, name)
    if origin is list:
        _refuse_unless(isinstance(value, list), value, "a list", name)
        return [_typed(each, inner[0], f"{name}[{i}]") for i, each in enumerate(value)]
    if origin is tuple:
        _refuse_unless(
            isinstance(value, list) and len(value) == len(inner), value, f"{len(inner)} values", name
        )
        return tuple(_typed(each, one, name) for each, one in zip(value, inner, strict=True))
    if origin is dict:
        _refuse_unless(isinstance(value, dict), value, "an object of keys and values", name)
        keys = {key: _typed(key, inner[0], f"a key of {name}") for key in value}
        return {keys[key]: _typed(each, inner[1], _at(name, key)) for key, each in value.items()}
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _refuse_unless(is_number and math.isfinite(value), value, "a finite number", name)
        return float(value)
    words = {int: "a whole number", str: "a text", bool: "true or false"}
    is_one = isinstance(value, kind)
    if kind is int:
        is_one = is_one and not isinstance(value, bool) and abs(value) < LARGEST
    _refuse_unless(is_one, value, words[kind], name)
    return value


def _of_dataclass(value: Any, kind: Any, name: str) -> Any:
    _refuse_unless(isinstance(value, Mapping), value, "an object of keys and values", name)
    hints = get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{name} has an unknown key {reprlib.repr(unknown[0])}")
    for key, field in known.items():
        has_default = field.default is not field.default_factory  # both MISSING where there is none
        if key not in value and not has_default:
            raise ValueError(f"{name} has no {key!r}")
    return kind(**{key: _typed(value[key], hints[key], _at(name, key)) for key in value})


def _at(name: str, key: object) -> str:
    return str(key) if name == "it" else f"{name}.{key}"


def _refuse_unless(holds: bool, value: object, wanted: str, name: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {wanted}, not {reprlib.repr(value)}")
