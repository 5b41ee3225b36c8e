"""`unpickle`: what a pickle of plain data holds, without running anything that the pickle names.

Python's own reader calls whatever function a pickle asks for. This one knows containers, numbers, text, bytes, and the
few names that it is given, each of which stands for a function of ours that checks its arguments.
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
    """What a name of a pickle stands for, where it is passed on and never called."""

    value: Any


Names = Mapping[tuple[str, str], "Callable[..., Any] | Constant"]

_FORBIDDEN = (
    pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID,
    pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
)  # fmt: skip
"""Opcodes that plain data does not need."""


def unpickle(content: bytes | io.BytesIO, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The object that a pickle describes: dicts, lists, tuples, numbers, text, bytes, and what `names` stand for.

    `names`: the classes and functions that it may name, and what takes the place of each. `persistent`: gives the
    object of a persistent id (torch's storages); without it there are none. Of a stream one pickle is read. Raises
    ValueError, with the reason in a line, for a name that is not allowed and for a malformed pickle.
    """
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        return _Reader(stream, names, persistent).load()
    except pickle.UnpicklingError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except Exception:  # a malformed pickle can raise nearly anything
        raise ValueError("the pickle is truncated or malformed") from None


class Stub:
    """What a name of a pickle gives: a call of `build`, and nothing that a pickle may set or change."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Reader(pickle._Unpickler):
    """Python's reader that is written in Python, since it lets opcodes be taken away and replaced."""

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
        """`cls.__new__(cls, *arguments)`, which only stand-ins of ours have."""
        arguments, cls = self.stack.pop(), self.stack.pop()
        if not isinstance(cls, type) or arguments:
            raise pickle.UnpicklingError("it makes an object that plain data does not need")
        self.append(cls())

    def load_bytearray8(self) -> None:
        """As bytes; Python's own reader reserves as much memory as the file claims."""
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
        """Keys are text and numbers: the hash of a tuple that nests deeply enough ends the process."""
        target = self.stack[-1]
        if type(target) is not dict or any(type(key) not in _KEYS for key in items[::2]):
            raise pickle.UnpicklingError("it holds a dictionary whose keys are neither text nor numbers")
        target.update(zip(items[::2], items[1::2], strict=True))

    def load_binpersid(self) -> None:
        self.append(self.persistent_load(self.stack.pop()))

    def load_build(self) -> None:
        """`object.__setstate__(state)` of classes of ours alone: no attribute of anything else is set."""
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
    """Base of the classes of ours whose state a pickle may give, once."""

    def __setstate__(self, state: Any) -> None:
        raise NotImplementedError
