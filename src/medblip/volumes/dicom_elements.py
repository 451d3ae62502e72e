"""The elements of a DICOM file, walked once from its first byte to its last.

A general parser follows nested sequences wherever their lengths lead it: pydicom 3.0.2 took
minutes over a crafted file of 0.4 MB and ends in a RecursionError over another. Here nothing is
followed that is not asked for, sequences are stepped over without recursion, each length is
compared with what is left, and values that are not asked for, such as names, are never decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_LENGTH = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_NO_TAG = bytes(4)
_PLAIN = {order: struct.Struct(f"{order}HHL") for order in "<>"}
_TYPED = {order: struct.Struct(f"{order}HH2sH") for order in "<>"}
_DEEPEST = 64
_MOST_ELEMENTS = 1_000_000


class BrokenDicomError(ValueError):
    """The bytes are not what a DICOM file may hold; the text names no value of it."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: with or without their type, and the byte order."""

    explicit: bool = True
    order: str = "<"

    def inside(self, kind: bytes) -> Encoding:
        """How the content of a sequence of that type is written."""
        return Encoding(explicit=False) if kind == b"UN" else self


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element's value lies: bytes ``start`` to ``end``.

    ``undefined`` is true for a value that was closed by a delimiter, which is not part of it.
    """

    start: int
    end: int
    undefined: bool


def find_elements(
    data: bytes, start: int, end: int, encoding: Encoding, wanted: Container[int]
) -> dict[int, Element]:
    """The wanted elements among those from ``start`` to ``end``, by tag (group << 16 | element).

    Raises:
        BrokenDicomError: a length leads past the end, an element stands twice, sequences are
            nested more than 64 deep, or there are more than a million elements.
    """
    found: dict[int, Element] = {}
    position = start
    for _ in range(_MOST_ELEMENTS):
        if position >= end:
            return found
        if data.startswith(_NO_TAG, position):
            if any(data[position:end]):
                raise BrokenDicomError("it holds something else than elements")
            return found  # some writers fill up the last block with zeros
        tag, kind, value, length = _header(data, position, end, encoding)
        if length == UNDEFINED:
            close = _skip_undefined(data, value, end, encoding.inside(kind))
            element, position = Element(value, close, undefined=True), close + 8
        else:
            element, position = Element(value, value + length, undefined=False), value + length
            if position > end:
                raise BrokenDicomError(
                    f"an element announces {length:,} bytes where {end - value:,} are left"
                )
        if tag in wanted:
            if tag in found:
                raise BrokenDicomError("an element stands there twice")
            found[tag] = element
    raise BrokenDicomError(f"it holds more than {_MOST_ELEMENTS:,} elements")


def end_of_group(data: bytes, start: int, group: int) -> int:
    """Where the elements of that group end, which begin at ``start`` and are explicit, little.

    Raises:
        BrokenDicomError: as above.
    """
    encoding, position = Encoding(), start
    while data[position : position + 2] == group.to_bytes(2, "little"):
        _, _, value, length = _header(data, position, len(data), encoding)
        position = value + length
        if position > len(data):
            raise BrokenDicomError("an element is longer than the file")
    return position


def find_items(data: bytes, sequence: Element, encoding: Encoding) -> list[Element]:
    """The items of a sequence, or the fragments of packed pixels.

    Raises:
        BrokenDicomError: as above.
    """
    items = []
    position = sequence.start
    while position < sequence.end:
        tag, length = _delimiter(data, position, sequence.end, encoding)
        if tag != _ITEM:
            raise BrokenDicomError("a sequence holds something else than items")
        start = position + 8
        if length == UNDEFINED:
            close = _skip_undefined(data, start, sequence.end, encoding, inside_item=True)
            items.append(Element(start, close, undefined=True))
            position = close + 8
        else:
            position = start + length
            if position > sequence.end:
                raise BrokenDicomError("an item is longer than its sequence")
            items.append(Element(start, position, undefined=False))
    return items


def _header(
    data: bytes, position: int, end: int, encoding: Encoding
) -> tuple[int, bytes, int, int]:
    """Tag, type, first byte of the value, and its length."""
    if position + 8 > end:
        raise BrokenDicomError("it ends in the middle of an element")
    if not encoding.explicit:
        group, number, length = _PLAIN[encoding.order].unpack_from(data, position)
        return group << 16 | number, b"", position + 8, length
    group, number, kind, length = _TYPED[encoding.order].unpack_from(data, position)
    if kind in _LONG_LENGTH:
        if position + 12 > end:
            raise BrokenDicomError("it ends in the middle of an element")
        length = struct.unpack_from(encoding.order + "L", data, position + 8)[0]
        return group << 16 | number, kind, position + 12, length
    if not (kind.isalpha() and kind.isupper()):
        raise BrokenDicomError("an element has no type where one is announced")
    return group << 16 | number, kind, position + 8, length


def _delimiter(data: bytes, position: int, end: int, encoding: Encoding) -> tuple[int, int]:
    """An item's or delimiter's tag and length, which have no type in any encoding."""
    if position + 8 > end:
        raise BrokenDicomError("it ends in the middle of a sequence")
    group, number, length = _PLAIN[encoding.order].unpack_from(data, position)
    return group << 16 | number, length


def _skip_undefined(
    data: bytes, position: int, end: int, encoding: Encoding, *, inside_item: bool = False
) -> int:
    """Where the delimiter stands that closes the sequence (or item) whose content starts here."""
    # Each open level: whether it is an item's elements or a sequence's items, and its encoding.
    levels = [(inside_item, encoding)]
    for _ in range(_MOST_ELEMENTS):
        in_item, encoding = levels[-1]
        tag, length = _delimiter(data, position, end, encoding)
        if tag == (_ITEM_END if in_item else _SEQUENCE_END):
            levels.pop()
            if not levels:
                return position
            position += 8
            continue
        kind = b""
        if in_item:
            _, kind, position, length = _header(data, position, end, encoding)
        elif tag == _ITEM:
            position += 8
        else:
            raise BrokenDicomError("a sequence holds something else than items")
        if length == UNDEFINED:
            levels.append((not in_item, encoding.inside(kind)))
        else:
            position += length
        if len(levels) > _DEEPEST:
            raise BrokenDicomError(f"its sequences are nested more than {_DEEPEST} deep")
    raise BrokenDicomError(f"it holds more than {_MOST_ELEMENTS:,} elements")
