"""The blocks of a page of docs/ as the tests read them; docs/README.md tells writers the rules.

    ```yaml      `# weir.yaml` (or a path that ends so) on its first line: a whole configuration; another file's name: that file; else a part
    ```console   `$ command` lines, each followed by what it prints; `…` stands for what varies, alone on a line for any lines
    <!-- … -->   before a block, for the runner: `by hand`, `changed`, `stop ADDRESS`, `start ADDRESS`
"""

import os
import re
from dataclasses import dataclass

from harness.weir import ROOT

PAGES = ["README.md"] + sorted(os.path.join("docs", n) for n in os.listdir(os.path.join(ROOT, "docs"))
                               if n.endswith(".md") and not n.endswith(".head.md"))
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$|^<!-- (.*?) -->$", re.M | re.S)
_FILE = re.compile(r"# (\S+\.(?:ya?ml|conf|cfg))\n")


@dataclass
class Block:
    kind: str   # yaml, console, note
    text: str
    line: int   # of the page

    @property
    def file(self):
        """The file that a block is, by its first line."""
        match = _FILE.match(self.text)
        return match[1] if match else None

    @property
    def is_whole(self):
        return self.kind == "yaml" and self.file is not None and os.path.basename(self.file) == "weir.yaml"


def read(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        return f.read()


def blocks(text):
    found = []
    for match in _FENCE.finditer(text):
        line = text[:match.start()].count("\n") + 2
        if match[3] is not None:
            found.append(Block("note", match[3].strip(), line - 1))
        else:
            found.append(Block(match[1], match[2], line))
    return found


@dataclass
class Command:
    text: str
    expected: list
    line: int


def commands(block):
    """The commands of a console block; a command goes on in lines that begin with `> `."""
    found = []
    for offset, line in enumerate(block.text.splitlines()):
        if line.startswith("$ "):
            found.append(Command(line[2:], [], block.line + offset))
        elif line.startswith("> ") and found and not found[-1].expected:
            found[-1].text += "\n" + line[2:]
        elif found:
            found[-1].expected.append(line)
    for command in found:
        while command.expected and not command.expected[-1].strip():
            command.expected.pop()
    return found


def matches(expected, output):
    """Whether the output is what the page shows: runs of blanks count as one, `…` is anything."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            words = re.split(r"\s+", line.strip())
            pattern += r"[ \t]+".join(".*?".join(map(re.escape, w.split("…"))) for w in words) + r"[ \t]*\n"
    got = "".join(line.strip() + "\n" for line in output.rstrip().splitlines()) if output.strip() else ""
    return re.fullmatch(pattern.replace(r".*?", r"[^\n]*?"), got) is not None
