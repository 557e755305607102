"""The field Cache-Status (RFC 9211) of an answer, read strictly enough for the tests: the member that weir wrote."""

import re

from .message import ProtocolError

_PARAMETER = re.compile(r';\s*([a-z*][a-z0-9_\-.*]*)(?:=("(?:[^"\\]|\\["\\])*"|-?[0-9]+|[A-Za-z*][!#$%&\'*+\-.^_`|~:/0-9A-Za-z]*|\?[01]))?')
_NAME = re.compile(r'\s*("(?:[^"\\]|\\["\\])*"|[A-Za-z*][!#$%&\'*+\-.^_`|~:/0-9A-Za-z]*)')


class CacheStatus(dict):
    """Parameters by name; a flag is True, an integer an int. `name` is the cache's."""

    def __init__(self, member):
        super().__init__()
        found = _NAME.match(member)
        if not found:
            raise ProtocolError(f"bad Cache-Status member {member!r}")
        self.name, at = found[1].strip('"'), found.end()
        while at < len(member):
            found = _PARAMETER.match(member, at)
            if not found:
                raise ProtocolError(f"bad Cache-Status parameters {member[at:]!r}")
            self[found[1]] = _value(found[2])
            at = found.end()

    @property
    def is_hit(self):
        return self.get("hit") is True


def _value(text):
    if text is None or text == "?1":
        return True
    if text == "?0":
        return False
    if text[0] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


def cache_status(answer):
    """weir's member of an answer's Cache-Status: the last one, for it is the cache nearest to the client."""
    fields = answer.fields if hasattr(answer, "fields") else answer
    values = [v for n, v in fields if n.lower() == "cache-status"]
    if not values:
        raise ProtocolError(f"no Cache-Status in {fields}")
    status = CacheStatus(re.split(r',(?=(?:[^"]*"[^"]*")*[^"]*\Z)', values[-1])[-1].strip())
    if status.is_hit == ("fwd" in status):
        raise ProtocolError(f"Cache-Status says both or neither of hit and fwd: {values}")
    return status
