# SPDX-License-Identifier: MIT
"""Terminals for tests: what a program's output leaves on them."""

from __future__ import annotations

import pyte


def shown(screen: pyte.Screen) -> list[str]:
    """Return the rows down to the last that is not empty."""
    rows = [row.rstrip() for row in screen.display]
    while rows and not rows[-1]:
        rows.pop()
    return rows


def screen_of(output: str, columns: int, lines: int) -> pyte.Screen:
    """Return a terminal that has shown `output`, as a program writes it to a pseudo-terminal."""
    screen = pyte.Screen(columns, lines)
    pyte.Stream(screen).feed(output.replace("\r\n", "\n").replace("\n", "\r\n"))
    return screen


def rewrapped(screen: pyte.Screen, columns: int) -> pyte.Screen:
    """Return the terminal with another width: its rows wrap, and the cursor keeps its place.

    Most terminals do so. pyte itself cuts the rows, as xterm does. No row may have been wrapped
    before.
    """
    rows = shown(screen)
    rows += [""] * (screen.cursor.y + 1 - len(rows))
    pieces = [_pieces(row, columns) for row in rows]
    cursor = sum(len(each) for each in pieces[: screen.cursor.y])
    wrapped = [piece for each in pieces for piece in each]
    above = max(0, len(wrapped) - screen.lines)
    fresh = pyte.Screen(columns, screen.lines)
    pyte.Stream(fresh).feed("\r\n".join(wrapped[above:]))
    fresh.cursor_position(cursor - above + 1, screen.cursor.x + 1)
    fresh.mode, fresh.cursor.hidden = set(screen.mode), screen.cursor.hidden
    return fresh


def _pieces(row: str, columns: int) -> list[str]:
    return [row[start : start + columns] for start in range(0, len(row), columns)] or [""]
