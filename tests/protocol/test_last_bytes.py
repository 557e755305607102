"""Whoever gets a last answer gets its end too, however full the socket is."""

import select
import socket
import ssl

import pytest


def answer_of(weir_path, size):
    """What a client gets of a last answer that it reads only when no more of it comes; raises where TLS is cut."""
    context = ssl._create_unverified_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(20)
        plain.connect(str(weir_path))
        with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client:
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % size)
            ends = select.poll()
            ends.register(client, select.POLLRDHUP)
            ends.poll(200)
            data = b""
            while piece := client.recv(65536):
                data += piece
            return data.partition(b"\r\n\r\n")[2]


def test_close_notify_follows_when_the_answer_just_fills_the_socket(site, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    sizes = range(70000, 230000, 6000)
    for size in sizes:
        (root / str(size)).write_bytes(b"x" * size)
    path = tmp_path / "web.sock"
    site([{"files": {"root": str(root)}}], None, {"web": {"bind": f"unix:{path}", "tls": {"self_signed": ["localhost"]}}}, workers=1)
    for size in sizes:
        assert len(answer_of(path, size)) == size
