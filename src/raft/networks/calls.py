"""Activations that a class's own code calls: ``F.relu(x)``, ``x.relu()``, or one ``self.relu`` at two places.

Such calls become calls of submodules, in a subclass that holds the same methods with these calls replaced in
their syntax trees. All else of the code stays what it is, so control flow, the training flag, shapes and
keyword arguments go on as before, which a trace by ``torch.fx`` would fix at what they were. Instances become
instances of the subclass, which bears its parent's name; ``pickle`` and ``copy`` know how to make it again.

A call gets the number that it has on its way through its method. Calls in two branches of an ``if``, and in
two methods, share a number, as they often are two ways to do the same (with and without checkpointing, or
with and without features of intermediate layers), of which one is trained and the other evaluated.
"""

from __future__ import annotations
import __future__

import ast
import copy
import dis
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

SETTINGS: dict[str, tuple[str, ...]] = {
    "relu": (), "relu6": (), "silu": (), "mish": (), "selu": (), "hardswish": (), "gelu": ("approximate",),
    "leaky_relu": ("negative_slope",), "elu": ("alpha",), "celu": ("alpha",), "sigmoid": (), "tanh": (),
    "softplus": ("beta", "threshold"), "hardsigmoid": (), "hardtanh": ("min_val", "max_val"),
    "logsigmoid": (),
}  # fmt: skip
"""Functions of ``torch.nn.functional`` that are activations, and their arguments after the input."""

METHODS = ("relu", "sigmoid", "tanh")
"""Those that are methods of tensors, too."""

VIEWS = (
    "as_strided", "chunk", "contiguous", "detach", "diagonal", "expand", "expand_as", "flatten", "float",
    "moveaxis", "movedim", "narrow", "permute", "ravel", "reshape", "select", "split", "squeeze", "swapaxes",
    "swapdims", "t", "tensor_split", "to", "transpose", "type_as", "unbind", "unflatten", "unfold",
    "unsqueeze", "view", "view_as",
)  # fmt: skip
"""Methods of tensors, and functions of torch, that may give another view of the same numbers."""

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that call, or let others call, all that is put into them."""

PARTS = ("_modules", "children", "named_children", "modules", "named_modules", "items", "keys", "values")
"""Attributes of a container by which its own code gets at all that is in it."""

CHILDREN = PARTS[:3]
"""Those by which the code of any module does."""

UNCOUNTED = frozenset((*dis.hasconst, *dis.hasjrel, *dis.hasjabs))
"""Instructions whose argument is a place, or a constant."""

Counts = dict[str, int]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class ActivationCall:
    """A call in the code of a class that a submodule can take over.

    Attributes:
        key: name of the submodule.
        method: that holds the call.
        index: of the call among all calls of the method, in the order of ``ast.walk``.
        function: name of the function, in ``SETTINGS``; None for a call of an attribute.
        attribute: of ``self`` that is called.
        settings: arguments of the function besides its input: values, or paths from ``self`` such as
            ``.slope``.
    """

    key: str
    method: str
    index: int
    function: str | None = None
    attribute: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class ClassCalls:
    """The calls of activations in the code of a class.

    Attributes:
        calls: that can be replaced; several may have one key.
        unreachable: the others: function and place, in words.
        aliasing: by path from ``self`` of what is called, where the network would change if what works in
            place there no longer did, in words.
    """

    calls: tuple[ActivationCall, ...]
    unreachable: tuple[tuple[str, str], ...]
    aliasing: dict[str, str]


_NAMES = {
    id(function): name
    for name in SETTINGS
    for function in (getattr(room, form, None) for room in (F, torch) for form in (name, f"{name}_"))
    if function is not None
}


def function_name(function: object) -> str | None:
    """The name in ``SETTINGS`` of a function of torch, in place or not; None where it is none of them."""
    return _NAMES.get(id(function))


@cache
def find_calls(cls: type) -> ClassCalls:
    """Find the calls of activations in the methods of a class, and of its parents that are not torch's.

    Calls of attributes are those that are called more than once: whether these are activations, their
    instances tell. The first of them stays.
    """
    calls: list[ActivationCall] = []
    unreachable: list[tuple[str, str]] = []
    variants: dict[str, list[Any]] = {}
    aliasing: dict[str, str] = {}
    for name, method in _methods(cls):
        tree = _parse(method)
        if tree is None:
            if _read(method) is not None:
                place = f"{cls.__name__}.{name}, whose file has changed since it was imported"
                unreachable.append(("any function", place))
        else:
            scan = _MethodScan(cls, name, method, tree, calls, unreachable, variants, aliasing)
            scan.visit_method()
            if any(_is_name(node, "super") for node in ast.walk(tree)):
                for overridden in _overridden(cls, name, method):
                    unreachable += _calls_of_function(overridden, "which a subclass calls by super()")
    return ClassCalls(tuple(calls), tuple(dict.fromkeys(unreachable)), aliasing)


def original_class(module: nn.Module) -> type:
    """The class of a module before :func:`rewrite`."""
    cls = type(module)
    return cls.__bases__[0] if "_raft_keys" in vars(cls) else cls


def rewrite(module: nn.Module, keys: frozenset[str]) -> None:
    """Let the calls with these keys be calls of the submodules with these names; with none, restore all."""
    base = original_class(module)
    module.__class__ = _rewritten_class(base, keys) if keys else base


@cache
def _rewritten_class(base: type, keys: frozenset[str]) -> type:
    methods = dict(_methods(base))
    chosen: dict[str, list[ActivationCall]] = {}
    for call in find_calls(base).calls:
        if call.key in keys:
            chosen.setdefault(call.method, []).append(call)
    known = {call.key for calls in chosen.values() for call in calls}
    if unknown := sorted(keys - known):
        raise ValueError(f"the code of {base.__name__} has no call of an activation at {unknown[0]}")

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        parent: Any = base  # which may choose its state
        _, _, *rest = parent.__reduce_ex__(self, protocol)
        return _make_instance, (base, keys), *rest

    namespace: dict[str, Any] = {name: _replace_calls(methods[name], calls) for name, calls in chosen.items()}
    namespace |= {"__reduce_ex__": reduce, "_raft_keys": keys}
    namespace |= {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
    make: Any = type(base)  # a metaclass
    made: type = make(base.__name__, (base,), namespace)
    return made


def _make_instance(base: type, keys: frozenset[str]) -> nn.Module:
    cls: Any = _rewritten_class(base, keys)
    made: nn.Module = cls.__new__(cls)
    return made


def _methods(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """The methods that instances have, without torch's own."""
    known = {"__init__"}
    for parent in cls.__mro__:
        if parent.__module__.partition(".")[0] == "torch":
            continue
        for name, value in vars(parent).items():
            if name not in known and isinstance(value, FunctionType):
                yield name, value
            known.add(name)


def _overridden(cls: type, name: str, method: FunctionType) -> Iterator[FunctionType]:
    """What a method of a class overrides in its parents that are not torch's."""
    for parent in cls.__mro__:
        value = vars(parent).get(name)
        if isinstance(value, FunctionType) and value is not method and _is_near(value, method):
            yield value


@cache  # what its file becomes later does not matter
def _parse(function: FunctionType) -> Function | None:
    """The syntax tree of a function that has arguments; None where its source is not to be had."""
    tree = _read(function)
    return tree if tree is not None and _makes(tree, inspect.unwrap(function).__code__) else None


def _read(function: FunctionType) -> Function | None:
    """The syntax tree of what its file has now where the function stood."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):  # made without a file, or a part of another line
        return None
    return tree if isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)) and tree.args.args else None


def _makes(tree: Function, code: CodeType) -> bool:
    """Whether a function's code was compiled from this tree, and not from an older state of its file."""
    if _has_private_names(tree):  # which depend on the class
        return True
    plain = copy.deepcopy(tree)
    plain.decorator_list = []
    return plain.name == code.co_name and _fingerprint(_compile(plain, code)) == _fingerprint(code)


def _fingerprint(code: CodeType) -> tuple[Any, ...]:
    """What a function's code does; how it calls a name depends on the imports around it."""
    constants: list[Any] = []
    for value in code.co_consts:
        if isinstance(value, CodeType):
            constants.append(_fingerprint(value))
        elif isinstance(value, str):  # which lost its indentation with the source
            constants.append(value.split())
        elif isinstance(value, frozenset):
            constants.append(sorted(map(repr, value)))
        else:
            constants.append(repr(value))
    steps = [
        (step.opname.partition("_")[0], None if step.opcode in UNCOUNTED else step.argval)
        for step in dis.get_instructions(code)
        if not step.opname.startswith(("PUSH_NULL", "PRECALL", "CALL", "EXTENDED_ARG"))
    ]
    return code.co_varnames, code.co_freevars, constants, steps


class _MethodScan:
    """Numbers the calls of one method."""

    def __init__(
        self, cls: type, name: str, method: FunctionType, tree: Function,
        calls: list[ActivationCall], unreachable: list[tuple[str, str]], variants: dict[str, list[Any]],
        aliasing: dict[str, str],
    ) -> None:  # fmt: skip
        self.place = f"{cls.__name__}.{name}"
        self.name, self.tree = name, tree
        is_wrapped = inspect.unwrap(method) is not method  # by a decorator, or later
        self.method = method = inspect.unwrap(method)
        self.calls, self.unreachable, self.variants = calls, unreachable, variants
        self.aliasing = aliasing
        self.owner = tree.args.args[0].arg
        self.indices = {id(node): i for i, node in enumerate(_calls(tree))}
        self.parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        closure = zip(method.__code__.co_freevars, method.__closure__ or (), strict=True)
        self.names = {**_outer_names(method), **{name: _cell_value(cell) for name, cell in closure}}
        self.refusal = None
        if tree.decorator_list or is_wrapped or _has_private_names(tree):
            self.refusal = "in a method that is decorated or has private names"
        elif _calls_its_parts(cls):
            self.refusal = "in code that calls all parts of its module, and would call a further one, too"

    def visit_method(self) -> None:
        """Add the calls of the method to the lists."""
        counts: Counts = {}
        for statement in self.tree.body:
            self._visit(statement, counts)

    def _visit(self, node: ast.AST, counts: Counts) -> None:
        if isinstance(node, (ast.If, ast.IfExp)):
            self._visit(node.test, counts)
            ways = []
            for branch in (node.body, node.orelse):
                way = dict(counts)
                for part in branch if isinstance(branch, list) else [branch]:
                    self._visit(part, way)
                ways.append((way, isinstance(branch, list) and bool(branch) and _leaves(branch[-1])))
            going_on = [way for way, leaves in ways if not leaves] or [way for way, _ in ways]
            for way in going_on:
                for key, count in way.items():
                    counts[key] = max(count, counts.get(key, 0))
            return
        for child in ast.iter_child_nodes(node):
            self._visit(child, counts)
        if isinstance(node, ast.Call):
            self._visit_call(node, counts)

    def _visit_call(self, node: ast.Call, counts: Counts) -> None:
        function = node.func
        reason = self._aliasing(node, is_method=False, is_inplace=True)
        if reason and (path := self._path(function)):
            self.aliasing.setdefault(path, f"{self.place}, line {self._line(node)}, {reason}")
        if isinstance(function, ast.Attribute) and _is_name(function.value, self.owner):
            key = f"self.{function.attr}"
            counts[key] = counts.get(key, 0) + 1
            if counts[key] > 1 and self.refusal is None and len(node.args) == 1 and not node.keywords:
                key = f"{function.attr}_call_{counts[key]}"
                self.calls.append(self._call(node, key, attribute=function.attr))
            return
        called = _resolve(function, self.names)
        if isinstance(called, FunctionType) and _is_near(called, self.method):
            self.unreachable += _calls_of_function(called, "which is no method")
        name = function_name(called)
        is_method = (
            name is None and isinstance(function, ast.Attribute) and not node.args and not node.keywords
            and function.attr.rstrip("_") in METHODS and _resolve(function.value, self.names) is None
        )  # fmt: skip
        if is_method:
            assert isinstance(function, ast.Attribute)
            name = function.attr.rstrip("_")
        if name is None:
            return
        settings, is_inplace = self._settings(node, name)
        reason = self.refusal or self._aliasing(node, is_method, is_inplace)
        if settings is None or reason:
            reason = reason or "with arguments that are known at work only"
            self.unreachable.append((name, f"{self.place}, line {self._line(node)}, {reason}"))
            return
        variants = self.variants.setdefault(name, [])
        if settings not in variants:
            variants.append(settings)
        number = variants.index(settings)
        variant = f"{name}_v{number + 1}" if number else name
        counts[variant] = counts.get(variant, 0) + 1
        self.calls.append(
            self._call(node, f"raf_{variant}_{counts[variant]}", function=name, settings=settings)
        )

    def _call(self, node: ast.Call, key: str, **values: Any) -> ActivationCall:
        return ActivationCall(key, self.name, self.indices[id(node)], **values)

    def _line(self, node: ast.Call) -> int:
        first: int = self.method.__code__.co_firstlineno
        return first + node.lineno - 1

    def _settings(self, node: ast.Call, name: str) -> tuple[tuple[tuple[str, Any], ...] | None, bool]:
        """The arguments beside the input, and whether the call may work in place.

        None in their place where they are neither literals nor attributes of ``self``.
        """
        known = SETTINGS[name]
        given: dict[str, ast.expr] = {}
        for i, value in enumerate(node.args[1:]):
            given[known[i] if i < len(known) else "inplace"] = value
        given |= {keyword.arg or "**": keyword.value for keyword in node.keywords}
        given.pop("input", None)
        inplace = given.pop("inplace", None)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_inplace = called.endswith("_") or not (
            inplace is None or (isinstance(inplace, ast.Constant) and inplace.value is False)
        )
        if any(isinstance(argument, ast.Starred) for argument in node.args) or not given.keys() <= set(known):
            return None, is_inplace
        values = tuple((key, self._fixed_value(value)) for key, value in given.items())
        return None if any(value is None for _, value in values) else values, is_inplace

    def _path(self, expression: ast.expr) -> str:
        """``block.act`` of ``self.block.act``; empty for what is no attribute of ``self``."""
        root = expression
        while isinstance(root, ast.Attribute):
            root = root.value
        return ast.unparse(expression).removeprefix(self.owner)[1:] if _is_name(root, self.owner) else ""

    def _fixed_value(self, expression: ast.expr) -> Any:
        """A number or a text, or the path of an attribute of ``self``; None for other expressions."""
        path = self._path(expression)
        if path:
            return f".{path}"
        try:
            return ast.literal_eval(expression)
        except ValueError:
            return None

    def _aliasing(self, node: ast.Call, is_method: bool, is_inplace: bool) -> str | None:
        """Why a call in place cannot become one that is not: what it changes is read again."""
        statement = self.parents[id(node)]
        if isinstance(statement, ast.Expr):
            return "called for its effect on its input"
        inputs = [keyword.value for keyword in node.keywords if keyword.arg == "input"]
        if is_method and isinstance(node.func, ast.Attribute):
            inputs = [node.func.value]
        changed = next(iter([*inputs, *node.args]), None)
        whole = self._viewed(changed)
        if not is_inplace or changed is None or not isinstance(whole, ast.Name):
            return None
        while not isinstance(statement, ast.stmt):
            statement = self.parents[id(statement)]
        is_kept = whole.id == self.owner  # a buffer, say
        value = getattr(statement, "value", None)
        names = [node for node in ast.walk(value) if _is_name(node, whole.id)] if value is not None else []
        is_read_beside = not is_kept and len(names) != 1
        targets = {ast.unparse(target) for target in getattr(statement, "targets", ())}
        is_gone = (isinstance(statement, ast.Return) and not is_kept) or self._is_read_once(whole.id)
        if not is_read_beside and (is_gone or targets & {whole.id, ast.unparse(changed)}):
            return None
        return f"in place, and {ast.unparse(changed) if is_kept else whole.id} may be read again"

    def _is_read_once(self, name: str) -> bool:
        """Whether a name stands for results of calls alone, and is read at one place."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id == name]
        written = [self.parents[id(node)] for node in nodes if not isinstance(node.ctx, ast.Load)]
        is_argument = any(node.arg == name for node in ast.walk(self.tree) if isinstance(node, ast.arg))
        are_results = all(
            isinstance(statement, ast.Assign) and isinstance(self._viewed(statement.value), ast.Call)
            for statement in written
        )
        return bool(written) and are_results and not is_argument and len(nodes) == len(written) + 1

    def _viewed(self, node: ast.expr | None) -> ast.expr | None:
        """The tensor that an expression is a part of, or another view of: ``x`` of ``x[:, :4].view(-1)``."""
        while True:
            if isinstance(node, (ast.Subscript, ast.Attribute)):
                node = node.value
                continue
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                return node
            receiver = node.func.value
            if node.func.attr not in VIEWS or _is_name(receiver, self.owner):
                return node  # of the module itself it is another method, or a part
            is_function = _resolve(receiver, self.names) is not None  # torch.flatten(x, 1)
            node = next(iter(node.args), None) if is_function else receiver


def _calls_of_function(
    function: FunctionType, reason: str, within: tuple[FunctionType, ...] = ()
) -> list[tuple[str, str]]:
    """Activations that a function calls, itself or through others near it, and why they are not reached."""
    tree = None if function in within else _parse(function)
    if tree is None:
        return []
    called: list[tuple[str, str]] = []
    names = _outer_names(function)
    for node in _calls(tree):
        inner = _resolve(node.func, names)
        name = function_name(inner)
        if name is not None:
            line = function.__code__.co_firstlineno + node.lineno - 1
            called.append((name, f"{function.__name__}, line {line}, {reason}"))
        elif isinstance(inner, FunctionType) and _is_near(inner, function):
            called += _calls_of_function(inner, reason, (*within, function))
    return called


def _outer_names(function: FunctionType) -> dict[str, Any]:
    """The globals that a function sees, without those that its own variables hide."""
    own = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    return {name: value for name, value in function.__globals__.items() if name not in own}


def _is_near(called: FunctionType, caller: FunctionType) -> bool:
    """Whether two functions are of one package, and not of torch."""
    packages = [str(function.__module__).partition(".")[0] for function in (called, caller)]
    return packages[0] == packages[1] != "torch"


def _replace_calls(method: FunctionType, calls: list[ActivationCall]) -> FunctionType:
    """The method with calls of submodules in place of these calls; its lines are those of the original."""
    tree = copy.deepcopy(_parse(method))
    assert tree is not None
    nodes = list(_calls(tree))
    owner = tree.args.args[0].arg
    for call in calls:
        node = nodes[call.index]
        inputs = [keyword.value for keyword in node.keywords if keyword.arg == "input"]
        if call.function is not None and not node.args and not inputs:  # x.relu()
            assert isinstance(node.func, ast.Attribute)
            inputs = [node.func.value]
        node.func = ast.Attribute(ast.Name(owner, ast.Load()), call.key, ast.Load())
        node.args, node.keywords = node.args[:1] or inputs, []
    code = method.__code__
    inner = _compile(tree, code)
    cells = dict(zip(code.co_freevars, method.__closure__ or (), strict=True))
    made = FunctionType(
        inner, method.__globals__, method.__name__, method.__defaults__,
        tuple(cells[name] for name in inner.co_freevars),
    )  # fmt: skip
    made.__kwdefaults__, made.__doc__ = method.__kwdefaults__, method.__doc__
    made.__qualname__, made.__module__ = method.__qualname__, method.__module__
    made.__annotations__ = method.__annotations__
    return made


def _compile(tree: Function, code: CodeType) -> CodeType:
    """Compile a function in the scope, and at the lines, of code."""
    # names of the scope around it, such as the ``__class__`` of ``super()``, are arguments of ``outer``
    outer = ast.parse(f"def outer({', '.join(code.co_freevars)}):\n    pass")
    function = outer.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = [tree]
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    flags = code.co_flags & __future__.annotations.compiler_flag
    compiled = compile(ast.fix_missing_locations(outer), code.co_filename, "exec", flags, dont_inherit=True)
    return _inner_code(_inner_code(compiled, "outer"), tree.name)


def _inner_code(code: CodeType, name: str) -> CodeType:
    return next(const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == name)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _leaves(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break))


@cache
def _calls_its_parts(cls: type) -> bool:
    """Whether a class's code, or of a container that of torch, calls whatever is put into it."""
    methods = dict(_methods(cls))
    if not issubclass(cls, CONTAINERS):
        trees = (_parse(method) for name, method in methods.items() if name.strip("_").startswith("forward"))
        return any(_uses(tree, CHILDREN) for tree in trees if tree is not None)
    return "forward" not in methods or any(
        tree is None or _gets_at_its_parts(tree) for tree in map(_parse, methods.values())
    )


def _gets_at_its_parts(tree: Function) -> bool:
    owner = tree.args.args[0].arg
    plain = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return _uses(tree, PARTS) or any(
        isinstance(node, ast.Name) and (node.id == "super" or (node.id == owner and id(node) not in plain))
        for node in ast.walk(tree)
    )


def _uses(tree: Function, names: Sequence[str]) -> bool:
    """Whether a method uses one of these attributes of its own object."""
    owner = tree.args.args[0].arg
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return any(node.attr in names and _is_name(node.value, owner) for node in attributes)


def _is_name(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _has_private_names(tree: ast.AST) -> bool:
    """Whether there are names that Python would change to ``_Class__name``."""
    names = {getattr(node, "attr", "") for node in ast.walk(tree)} | {
        getattr(node, "id", "") for node in ast.walk(tree)
    }
    return any(name.startswith("__") and not name.endswith("__") for name in names)


def _cell_value(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _resolve(node: ast.AST, names: dict[str, Any]) -> Any:
    """What ``F.relu`` stands for in a module; None for what is known at work only."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        value = _resolve(node.value, names)
        return None if value is None else getattr(value, node.attr, None)
    return None
