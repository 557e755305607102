"""A strict parser of the Prometheus text format, enough to sum and to compare."""

import re

_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([0-9.eE+\-]+|NaN|[+-]Inf)(?: [0-9]+)?\Z')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|\Z)')


class Metrics:
    def __init__(self, text):
        self.samples = []  # (name, labels, value)
        self.types = {}
        assert text.endswith("\n"), "the exposition ends without a newline"
        for line in text.splitlines():
            if not line:
                continue
            if line.startswith("#"):
                parts = line.split(None, 3)
                if len(parts) >= 4 and parts[1] == "TYPE":
                    assert parts[2] not in self.types, f"two TYPE lines of {parts[2]}"
                    self.types[parts[2]] = parts[3]
                continue
            match = _LINE.match(line)
            assert match, f"not a sample: {line!r}"
            self.samples.append((match[1], self._labels(match[2] or "", line), float(match[3])))
        keys = [(n, tuple(sorted(l.items()))) for n, l, _ in self.samples]
        assert len(keys) == len(set(keys)), "a series stands twice"

    @staticmethod
    def _labels(text, line):
        labels, at = {}, 0
        while at < len(text):
            match = _LABEL.match(text, at)
            assert match, f"bad labels in {line!r}"
            labels[match[1]] = match[2]
            at = match.end()
        return labels

    def matching(self, name, **labels):
        return [(l, v) for n, l, v in self.samples
                if n == name and all(l.get(k) == str(w) for k, w in labels.items())]

    def sum(self, name, **labels):
        return sum(v for _, v in self.matching(name, **labels))

    def names(self):
        return {n for n, _, _ in self.samples}
