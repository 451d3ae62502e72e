"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from medblip.errors import UsageError

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", re.IGNORECASE)


def parse_bytes(text: str, where: str) -> int:
    """Bytes of ``24GiB`` (2^30), ``24GB`` (10^9), ``24576 MiB`` and the like.

    Args:
        where: the option or field the text stands in, for the error.

    Raises:
        UsageError: it is no amount with a unit, or none above zero.
    """
    match = _FORM.fullmatch(text.strip())
    amount = 0
    if match:
        number, prefix, binary = match.groups()
        amount = int(float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()])
    if not amount:
        raise UsageError(
            where,
            f"{text!r} is no amount of memory",
            "write a number and a unit, e.g. 24GiB, 24576MiB or 80GB",
            code="bad-size",
        )
    return amount


def show_bytes(amount: int) -> str:
    """``12.34 GiB``, or MiB below a tenth of one."""
    gibibytes = amount / 2**30
    return f"{gibibytes:.2f} GiB" if abs(gibibytes) >= 0.1 else f"{amount / 2**20:.2f} MiB"


__all__ = ["parse_bytes", "show_bytes"]
