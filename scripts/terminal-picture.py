#!/usr/bin/env python3
"""Runs command lines in a pseudo-terminal and draws what stands on its screen in the end, as an SVG.

    terminal-picture.py OUTPUT.svg --title TEXT [--columns N] [--rows N] [--hide TEXT=TEXT]... STEP...

A STEP is a command line, which is shown behind a prompt and run by bash; `type:TEXT`, which is typed into the command
before it (\\r is Enter, \\e Escape) when its screen has been still for a moment; or `end`, for a command that waits for more:
the picture is taken when its screen is still, and the command ended by its own process number. With `--until REGEX` the
picture is taken when the screen first matches. `--hide SHOWN=INSTEAD` replaces text. Python's standard library is all that it needs.
"""

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import unicodedata
from xml.sax.saxutils import escape

STILL_SECONDS = 1.5
LIMIT_SECONDS = 600
END = object()

# A window that reads well on light pages and on dark ones.
PAPER, BAR, EDGE, INK, FAINT = "#16181d", "#22252c", "#3a3f4a", "#d7dae0", "#8b919d"
PALETTE = [
    "#3f4451", "#f0716f", "#8cc570", "#e5c07b", "#61afef", "#c792ea", "#56c8d8", "#d7dae0",
    "#7f8794", "#ff8b88", "#a5e08a", "#f3d28f", "#82c4ff", "#dab0ff", "#7fe0ee", "#ffffff",
]
SIZE, CELL, LINE, MARGIN, HEAD = 14, 8.43, 20, 18, 38
FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', 'Microsoft YaHei', monospace"


def width(letter):
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


class Style(tuple):
    """(colour, ground, bold, dim, italic, underlined, reversed)"""

    PLAIN = (None, None, False, False, False, False, False)


class Screen:
    """As much of a terminal as programs that draw lines, bars and menus ask for."""

    SEQUENCE = re.compile(r"\x1b(?:\[([?>]?)([0-9;]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|([78=>cMDE]))")

    def __init__(self, columns, rows):
        self.columns, self.height = columns, rows
        self.lines, self.row, self.column = [{}], 0, 0
        self.top, self.style, self.kept, self.pending = 0, list(Style.PLAIN), (0, 0), ""

    def feed(self, text):
        text, self.pending = self.pending + text, ""
        place = 0
        while place < len(text):
            letter = text[place]
            if letter == "\x1b":
                found = self.SEQUENCE.match(text, place)
                if not found:
                    if len(text) - place < 40:
                        self.pending = text[place:]
                        return
                    place += 1
                    continue
                self.control(found)
                place = found.end()
                continue
            place += 1
            if letter == "\n":
                self.down()
            elif letter == "\r":
                self.column = 0
            elif letter == "\b":
                self.column = max(0, self.column - 1)
            elif letter == "\t":
                self.column = min(self.columns - 1, (self.column // 8 + 1) * 8)
            elif letter >= " ":
                self.put(letter)

    def down(self):
        self.row += 1
        while len(self.lines) <= self.row:
            self.lines.append({})
        self.top = max(self.top, self.row - self.height + 1)

    def put(self, letter):
        cells = width(letter)
        line = self.lines[self.row]
        if cells == 0:
            if self.column and self.column - 1 in line:
                before, style = line[self.column - 1]
                line[self.column - 1] = (before + letter, style)
            return
        if self.column + cells > self.columns:
            self.column = 0
            self.down()
            line = self.lines[self.row]
        line[self.column] = (letter, tuple(self.style))
        if cells == 2:
            line[self.column + 1] = ("", tuple(self.style))
        self.column += cells

    def control(self, found):
        private, numbers, kind, single = found.groups()
        if single == "7":
            self.kept = (self.row, self.column)
        elif single == "8":
            self.row, self.column = self.kept
        elif single == "M":
            self.row = max(self.top, self.row - 1)
        if kind is None or private:
            return
        values = [int(number) if number else 0 for number in numbers.split(";")]
        count = max(1, values[0])
        line = self.lines[self.row]
        if kind == "m":
            self.colour(values)
        elif kind == "A":
            self.row = max(self.top, self.row - count)
        elif kind in "BE":
            for _ in range(count):
                self.down()
        elif kind == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif kind == "D":
            self.column = max(0, self.column - count)
        elif kind == "F":
            self.row = max(self.top, self.row - count)
        elif kind == "G":
            self.column = min(self.columns - 1, count - 1)
        elif kind in "Hf":
            self.row, self.column = self.top, 0
            for _ in range(count - 1):
                self.down()
            self.column = max(0, (values + [1])[1] - 1)
        elif kind == "K":
            first, last = [(self.column, self.columns), (0, self.column + 1), (0, self.columns)][values[0] % 3]
            for column in range(first, last):
                line.pop(column, None)
        elif kind == "J":
            for column in [column for column in line if values[0] >= 2 or column >= self.column]:
                line.pop(column)
            for below in self.lines[self.row + 1 :]:
                below.clear()
            if values[0] >= 2:
                for above in self.lines[self.top : self.row]:
                    above.clear()
        elif kind == "L":
            self.lines[self.row : self.row] = [{} for _ in range(count)]
        elif kind == "M":
            del self.lines[self.row : self.row + count]
            self.lines.extend({} for _ in range(self.row + 1 - len(self.lines)))
        if kind in "EF":
            self.column = 0

    def colour(self, values):
        place = 0
        while place < len(values):
            value = values[place]
            place += 1
            if value == 0:
                self.style = list(Style.PLAIN)
            elif value in (1, 2, 3, 4, 7):
                self.style[{1: 2, 2: 3, 3: 4, 4: 5, 7: 6}[value]] = True
            elif value == 22:
                self.style[2] = self.style[3] = False
            elif value in (23, 24, 27):
                self.style[{23: 4, 24: 5, 27: 6}[value]] = False
            elif value in (38, 48):
                if values[place : place + 1] == [5]:
                    colour, place = indexed(values[place + 1]), place + 2
                else:
                    colour, place = "#%02x%02x%02x" % tuple(values[place + 1 : place + 4]), place + 4
                self.style[value // 10 - 3] = colour
            elif value in (39, 49):
                self.style[value // 10 - 3] = None
            else:
                for base, part, shift in ((30, 0, 0), (40, 1, 0), (90, 0, 8), (100, 1, 8)):
                    if base <= value < base + 8:
                        self.style[part] = PALETTE[value - base + shift]

    def text(self):
        return "\n".join("".join(line.get(c, (" ",))[0] for c in range(self.columns)).rstrip() for line in self.lines)


def indexed(number):
    if number < 16:
        return PALETTE[number]
    if number >= 232:
        return "#" + "%02x" % (8 + 10 * (number - 232)) * 3
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return "#%02x%02x%02x" % (steps[number // 36], steps[number // 6 % 6], steps[number % 6])


def run(screen, line, typed, hidden, until):
    """Runs one command line on the screen; whether the picture is taken there."""
    screen.feed("\x1b[1;38;5;10m$\x1b[0m \x1b[1m" + line + "\x1b[0m\r\n")
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("bash", ["bash", "-c", line], {**os.environ, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", screen.height, screen.columns, 0, 0))
    typed, began, quiet = list(typed), time.monotonic(), time.monotonic()
    taken, left = False, b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                data = b""
            if not data:
                break
            left += data
            try:
                text, left = left.decode(), b""
            except UnicodeDecodeError as error:
                if len(left) - error.start > 3:
                    raise
                text, left = left[: error.start].decode(), left[error.start :]
            for shown, instead in hidden:
                text = text.replace(shown, instead)
            screen.feed(text)
            quiet = time.monotonic()
            if until and until.search(screen.text()):
                taken = True
                break
        elif typed and time.monotonic() - quiet > STILL_SECONDS:
            text = typed.pop(0)
            if text is END:
                taken = True
                break
            os.write(terminal, text.encode())
            quiet = time.monotonic()
        if time.monotonic() - began > LIMIT_SECONDS:
            sys.exit(f"{line}: no end after {LIMIT_SECONDS} s")
    if taken:
        os.kill(process, signal.SIGKILL)
    os.close(terminal)
    os.waitpid(process, 0)
    return taken


def runs(line, columns):
    """Parts of a line that are drawn in one piece: start, cells, text, style."""
    parts = []
    for column in range(columns):
        if column not in line:
            continue
        letter, style = line[column]
        if not letter:
            continue
        cells = width(letter[0])
        if parts:
            start, length, text, before = parts[-1]
            if start + length == column and before == style and (cells == 2) == (width(text[-1]) == 2):
                parts[-1] = (start, length + cells, text + letter, style)
                continue
        parts.append((column, cells, letter, style))
    return parts


def draw(screen, title):
    rows = list(screen.lines)
    while rows and not any(letter.strip() for letter, _ in rows[-1].values()):
        rows.pop()
    wide = round(screen.columns * CELL + 2 * MARGIN, 1)
    high = HEAD + len(rows) * LINE + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>text{{font-family:{FONTS};font-size:{SIZE}px;fill:{INK};white-space:pre}}</style>",
        f'<rect x=".5" y=".5" width="{wide - 1}" height="{high - 1}" rx="9" fill="{PAPER}" stroke="{EDGE}"/>',
        f'<path d="M1 28V9.500a8.500 8.500 0 0 1 8.500-8.500H{wide - 9.5}a8.500 8.500 0 0 1 8.500 8.500V28z" fill="{BAR}"/>',
    ]
    for place, colour in enumerate(("#ed6a5e", "#f4bf4f", "#61c554")):
        out.append(f'<circle cx="{18 + 18 * place}" cy="14.500" r="5.500" fill="{colour}"/>')
    out.append(f'<text x="{wide / 2}" y="19" text-anchor="middle" style="fill:{FAINT};font-size:12px">{escape(title)}</text>')
    for number, line in enumerate(rows):
        y = HEAD + number * LINE
        for start, cells, text, style in runs(line, screen.columns):
            colour, ground, bold, dim, italic, underlined, reversed_ = style
            if reversed_:
                colour, ground = ground or PAPER, colour or INK
            x, length = round(MARGIN + start * CELL, 2), round(cells * CELL, 2)
            if ground:
                out.append(f'<rect x="{x}" y="{y}" width="{length}" height="{LINE}" fill="{ground}"/>')
            if not text.strip():
                continue
            looks = "".join(
                part
                for part, is_on in (
                    (f' style="fill:{colour}"', colour),
                    (' font-weight="bold"', bold),
                    (' opacity=".65"', dim),
                    (' font-style="italic"', italic),
                    (' text-decoration="underline"', underlined),
                )
                if is_on
            )
            out.append(
                f'<text x="{x}" y="{y + 14}" textLength="{length}" lengthAdjust="spacingAndGlyphs" '
                f'xml:space="preserve"{looks}>{escape(text)}</text>'
            )
    return "\n".join(out + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("--title", required=True)
    parser.add_argument("--columns", type=int, default=96)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--hide", action="append", default=[])
    parser.add_argument("--until")
    parser.add_argument("steps", nargs="+")
    wish = parser.parse_args()
    screen = Screen(wish.columns, wish.rows)
    hidden = [tuple(pair.split("=", 1)) for pair in wish.hide]
    until = re.compile(wish.until) if wish.until else None
    commands = []
    for step in wish.steps:
        if step.startswith("type:"):
            commands[-1][1].append(step[5:].replace("\\r", "\r").replace("\\e", "\x1b"))
        elif step == "end":
            commands[-1][1].append(END)
        else:
            commands.append((step, []))
    for number, (line, typed) in enumerate(commands):
        if number and screen.column == 0 and screen.lines[-1]:
            screen.down()
        elif number:
            screen.feed("\r\n")
        if run(screen, line, typed, hidden, until):
            break
    with open(wish.output, "w", encoding="utf-8") as file:
        file.write(draw(screen, wish.title))


main()
