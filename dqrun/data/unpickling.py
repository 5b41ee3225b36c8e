"""`unpickle` reads a pickle of plain data and runs no function that the pickle names.

Python's own reader calls any function that a pickle names. This reader accepts containers, numbers, text, bytes, and a
few given names; each name is replaced by a function of dqrun that checks its arguments.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

_KEYS = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True)
class Constant:
    """The value that replaces a name of a pickle, if the name is only passed on, never called."""

    value: Any


Names = Mapping[tuple[str, str], "Callable[..., Any] | Constant"]

_FORBIDDEN = (
    pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID,
    pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
)  # fmt: skip
"""Opcodes that plain data does not need."""


def unpickle(content: bytes | io.BytesIO, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The object of a pickle: dicts, lists, tuples, numbers, text, bytes, and the objects that replace `names`.

    `names`: the classes and functions that the pickle may name, and the replacement of each. `persistent`: a function
    from a persistent id to its object (torch's storages); None: such ids are errors. From a stream, one pickle is read.
    Raises ValueError, with the reason in one line, for a name that is not allowed and for a malformed pickle.
    """
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        return _Reader(stream, names, persistent).load()
    except pickle.UnpicklingError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except Exception:  # a malformed pickle can raise nearly anything
        raise ValueError("the pickle is truncated or malformed") from None


class Stub:
    """The replacement of a name: a call calls `build`, and the pickle cannot set its attributes."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Reader(pickle._Unpickler):
    """The pure-Python reader of the standard library; its opcodes can be removed and replaced."""

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if code not in {opcode[0] for opcode in _FORBIDDEN}
    }

    def __init__(self, stream: io.BytesIO, names: Names, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self._names, self._persistent = names, persistent

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data does not need"[:200])
        return found if isinstance(found, type | Constant) else Stub(found)

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to objects outside the file")
        return self._persistent(pid)

    def load_newobj(self) -> None:
        """`cls.__new__(cls, *arguments)`: only for classes of `names`, and without arguments."""
        arguments, cls = self.stack.pop(), self.stack.pop()
        if not isinstance(cls, type) or arguments:
            raise pickle.UnpicklingError("it makes an object that plain data does not need")
        self.append(cls())

    def load_bytearray8(self) -> None:
        """Reads bytes; Python's own method would allocate the size that the file claims."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        """Allows only text, bytes, numbers and None as keys: the hash of a deeply nested tuple can end the process."""
        target = self.stack[-1]
        if type(target) is not dict or any(type(key) not in _KEYS for key in items[::2]):
            raise pickle.UnpicklingError("it holds a dictionary whose keys are neither text nor numbers")
        target.update(zip(items[::2], items[1::2], strict=True))

    def load_binpersid(self) -> None:
        self.append(self.persistent_load(self.stack.pop()))

    def load_build(self) -> None:
        """Calls `__setstate__(state)` of subclasses of `State` only; other objects get no attributes."""
        state, instance = self.stack.pop(), self.stack[-1]
        if not isinstance(instance, State):
            raise pickle.UnpicklingError(f"it sets attributes of a {type(instance).__name__}")
        instance.__setstate__(state)

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BINPERSID[0]] = load_binpersid
    dispatch[pickle.BUILD[0]] = load_build


class State:
    """Base of those classes of dqrun whose state a pickle may set."""

    def __setstate__(self, state: Any) -> None:
        raise NotImplementedError
