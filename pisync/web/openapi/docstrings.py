"""Docstrings, read from the source where Python drops them (`python -OO`)."""

import ast
import inspect
from collections.abc import Callable
from textwrap import dedent
from types import ModuleType
from typing import Any

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstring(of: ModuleType | type | Callable[..., Any]) -> str:
    """Return the docstring of a module, a class or a function."""
    text = inspect.cleandoc(of.__doc__) if of.__doc__ else _from_source(of)
    return text or ""


def _from_source(of: ModuleType | type | Callable[..., Any]) -> str | None:
    tree = ast.parse(dedent(inspect.getsource(of)))
    node = tree if inspect.ismodule(of) else tree.body[0]
    return ast.get_docstring(node) if isinstance(node, _Documented) else None
