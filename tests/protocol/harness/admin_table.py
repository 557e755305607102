"""The table of the admin interface's endpoints, read from the source that the program is made of."""

import os
import re
from dataclasses import dataclass

SOURCE = os.path.join(os.path.dirname(__file__), "..", "..", "..", "admin", "api.c")
ROW = re.compile(r'\{\s*"([A-Z]+)",\s*"([^"]+)",\s*(\w+),\s*([A-Z_0-9 |]+)\}')


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    handler: str
    is_open: bool
    is_local: bool
    changes: bool

    def target(self, *arguments):
        """The path with these in place of its {}s."""
        parts = list(arguments)
        return re.sub(r"\{\*?\}", lambda _: parts.pop(0), self.path)

    @property
    def argument_count(self):
        return self.path.count("{")


def endpoints():
    with open(SOURCE) as f:
        text = f.read()
    table = text[text.index("admin_endpoints[] = {"):]
    rows = [Endpoint(m, p, h, "ENDPOINT_OPEN" in f, "ENDPOINT_LOCAL" in f, "ENDPOINT_CHANGES" in f)
            for m, p, h, f in ROW.findall(table[:table.index("};")])]
    assert len(rows) > 15
    return rows
