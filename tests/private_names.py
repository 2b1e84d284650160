"""Find where a source file goes behind the public interface of a package that is not its own."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

OWN = "rag_chain"
# Takes the name of an attribute as a text.
BY_NAME = frozenset({"getattr", "hasattr", "setattr", "delattr"})
# Documented, whatever their names look like.
NAMED_TUPLE = frozenset({"_asdict", "_field_defaults", "_fields", "_make", "_replace"})
CHANGES = frozenset({"setattr", "delattr"})
NAMESPACE_CHANGES = frozenset({"clear", "pop", "setdefault", "update"})


def find_in_source(source: str) -> set[str]:
    """Return each use of a name that is private to somebody else, and each change of what somebody else made.

    These are private attributes of anything but ``self`` and ``cls``, also by ``getattr`` or ``vars``; private
    modules and names that are imported; attributes that are set on what was imported, or by ``setattr``; functions
    and classes that are put in the place of an attribute; private methods of a class inside a function whose base
    was imported.
    """
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    paths = dict(pair for node in nodes for pair in _imported_names(node))
    imported = {name for name, path in paths.items() if _is_foreign(path)}
    bundled = {name for name, path in paths.items() if _is_bundled(path)}
    local = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    fields = {name for node in nodes if isinstance(node, ast.ClassDef) for name in _fields(node)}
    made = local | {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    found: set[str] = set()
    for node in nodes:
        found.update(_private_imports(node))
        found.update(_private_attributes(node, local | bundled, fields))
        found.update(_private_by_name(node))
        found.update(_assignments(node, imported, made))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.update(_inner_classes(node, imported))
    return found


def find_in_classes(module: ModuleType) -> set[str]:
    """Return the private names that the module's classes override in, or take from, a base class that is not ours."""
    tree = ast.parse(inspect.getsource(module))
    nodes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: set[str] = set()
    for name, node in nodes.items():
        kind = getattr(module, name)
        # Pydantic makes a class of each use of a generic one, and gives it our module's name.
        bases = [base for base in kind.__mro__[1:] if _is_foreign(base.__module__) or "[" in base.__name__]
        if not bases:
            continue
        own = {part for base in kind.__mro__ if base not in bases for part in _defined_in(base)}
        theirs = {part for base in bases for part in (*vars(base), *vars(base).get("__annotations__", {}))}
        overridden = {part for part in _defined(node) if part in theirs}
        taken = {part for part in _used_on_self(node) if part not in own}
        found.update(f"{name}.{part}" for part in overridden | taken if is_private(part))
    return found


def is_private(name: str) -> bool:
    """Return whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in NAMED_TUPLE


def _is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return not top.startswith(OWN) and top != "builtins" and top not in sys.stdlib_module_names


def _is_bundled(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _imported_names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Give the names that an import binds, each with where it comes from."""
    if isinstance(node, ast.Import):
        yield from ((alias.asname or alias.name.partition(".")[0], alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from ((alias.asname or alias.name, node.module or OWN) for alias in node.names)


def _private_imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        paths = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        paths = [f"{node.module or OWN}.{alias.name}" for alias in node.names]
    else:
        return
    yield from (path for path in paths if _is_foreign(path) and any(map(is_private, path.split("."))))


def _private_attributes(node: ast.AST, exempt: set[str], fields: set[str]) -> Iterator[str]:
    if not isinstance(node, ast.Attribute) or not is_private(node.attr) or node.attr in fields:
        return
    owner = node.value
    # Exempt are classes of the module itself, and Python's own modules. ``find_in_classes`` sees to super().
    is_own = isinstance(owner, ast.Name) and owner.id in {"self", "cls", *exempt}
    is_super = isinstance(owner, ast.Call) and ast.unparse(owner.func) == "super"
    if not is_own and not is_super:
        yield ast.unparse(node)


def _private_by_name(node: ast.AST) -> Iterator[str]:
    """Give attributes that are named by a text: ``getattr(x, "_y")``, ``vars(x)["_y"]``, ``x.__dict__.pop("_y")``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
        owner, name = ast.unparse(node.args[0]), node.args[1]
        text = str(name.value) if isinstance(name, ast.Constant) else "*"
        if is_private(text) or node.func.id in CHANGES:
            yield f"{owner}.{text}"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_namespace(node.func.value):
        texts = [str(given.value) for given in node.args if isinstance(given, ast.Constant)]
        if node.func.attr in NAMESPACE_CHANGES or any(map(is_private, texts)):
            yield f"{ast.unparse(node.func.value)}.{node.func.attr}"
    elif isinstance(node, ast.Subscript) and _is_namespace(node.value):
        key = str(node.slice.value) if isinstance(node.slice, ast.Constant) else "*"
        if is_private(key) or not isinstance(node.ctx, ast.Load):
            yield ast.unparse(node)


def _is_namespace(node: ast.expr) -> bool:
    return (isinstance(node, ast.Call) and ast.unparse(node.func) == "vars") or (
        isinstance(node, ast.Attribute) and node.attr == "__dict__"
    )


def _assignments(node: ast.AST, imported: set[str], made: set[str]) -> Iterator[str]:
    targets: Iterable[ast.expr] = ()
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    value = getattr(node, "value", None)
    patches = isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in made)
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
                root = _root(part)
                if root in imported or (patches and root not in {"self", "cls"}):
                    yield ast.unparse(part)


def _inner_classes(function: ast.FunctionDef | ast.AsyncFunctionDef, imported: set[str]) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.ClassDef) and any(_root(base) in imported for base in node.bases):
            names = {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
            yield from (f"{node.name}.{name}" for name in names | _used_on_self(node) if is_private(name))


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _defined_in(kind: type) -> set[str]:
    if not kind.__module__.startswith(OWN):
        return set()
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    return _defined(node)


def _defined(kind: ast.ClassDef) -> set[str]:
    """Return the attributes that a class gives itself: in its body, and on ``self``."""
    found: set[str] = set()
    for node in kind.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found | {part.attr for part in _on_self(kind) if isinstance(part.ctx, ast.Store)}


def _fields(kind: ast.ClassDef) -> Iterator[str]:
    """Yield the fields that a class declares in its body, which another object of the class has as well."""
    for node in kind.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _used_on_self(kind: ast.ClassDef) -> set[str]:
    return {part.attr for part in _on_self(kind)}


def _on_self(kind: ast.ClassDef) -> Iterator[ast.Attribute]:
    for node in ast.walk(kind):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"self", "cls", "super()"}:
            yield node
