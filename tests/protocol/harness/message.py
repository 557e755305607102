"""A strict reader of HTTP/1 messages: what the tests take for a well-formed answer, nothing looser."""

import re

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)\Z")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")


class ProtocolError(AssertionError):
    """The peer sent what no strict reader takes."""


class Fields(list):
    """Header fields in order, as (name, value) text, names as they came."""

    def all(self, name):
        return [value for key, value in self if key.lower() == name.lower()]

    def get(self, name, default=None):
        """The only value of a field; two lines of it are an error unless the field is a list."""
        values = self.all(name)
        if not values:
            return default
        if len(values) > 1:
            raise ProtocolError(f"{len(values)} lines of {name}: {values}")
        return values[0]

    def tokens(self, name):
        """The members of a list-valued field, lower case, over all of its lines."""
        return [t.strip().lower() for v in self.all(name) for t in v.split(",") if t.strip()]

    def __contains__(self, name):
        return any(key.lower() == str(name).lower() for key, _ in self)


def parse_fields(block):
    """Field lines (without the empty one), each ended by CRLF."""
    fields = Fields()
    if not block:
        return fields
    if not block.endswith(b"\r\n"):
        raise ProtocolError(f"a field section does not end in CRLF: {block!r}")
    for line in block[:-2].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.match(name):
            raise ProtocolError(f"bad field line {line!r}")
        value = value.strip(b" \t")
        if not _VALUE.match(value):
            raise ProtocolError(f"bad character in field line {line!r}")
        fields.append((name.decode("latin-1"), value.decode("latin-1")))
    return fields


def parse_status_line(line):
    """(minor, status, reason)"""
    match = _STATUS_LINE.match(line)
    if not match:
        raise ProtocolError(f"bad status line {line!r}")
    return int(match[1]), int(match[2]), match[3].decode("latin-1")


def parse_request_line(line):
    parts = line.split(b" ")
    if len(parts) != 3 or not re.match(rb"HTTP/1\.[01]\Z", parts[2]):
        raise ProtocolError(f"bad request line {line!r}")
    return parts[0].decode("latin-1"), parts[1].decode("latin-1"), parts[2].decode("latin-1")


def parse_chunk_line(line):
    match = _CHUNK.match(line)
    if not match:
        raise ProtocolError(f"bad chunk line {line!r}")
    return int(match[1], 16)


def content_length(fields):
    """The one valid Content-Length, or None."""
    values = fields.all("content-length")
    if not values:
        return None
    if len(values) > 1 or not re.match(r"[0-9]+\Z", values[0]):
        raise ProtocolError(f"bad content-length {values}")
    return int(values[0])


def framing(fields, status=None, method="GET"):
    """How the body is delimited (RFC 9112 §6.3): ("none", 0), ("length", n), ("chunked", 0) or ("close", 0)."""
    length = content_length(fields)
    codings = fields.tokens("transfer-encoding")
    if codings and length is not None:
        raise ProtocolError("Transfer-Encoding and Content-Length in one message")
    if codings and codings != ["chunked"]:
        raise ProtocolError(f"transfer codings {codings}")
    if status is not None:
        if 100 <= status < 200 or status == 204:
            if codings or length is not None:
                raise ProtocolError(f"a {status} with a body's framing")
            return "none", 0
        if method == "HEAD" or status == 304:
            return "none", 0
    if codings:
        return "chunked", 0
    if length is not None:
        return "length", length
    return ("none", 0) if status is None else ("close", 0)
