"""What the protocol tests are written with: the real binary, scripted peers, and strict readers of what they get."""

from .admin import Admin
from .certs import Authority
from .deadline import SCALE, Deadline, after, wait_until
from .dns_server import DnsServer
from .http_backend import HttpBackend, Reply
from .message import Fields, ProtocolError
from .metrics import Metrics
from .ports import free_port, release_ports
from .raw_client import RawClient, get
from .raw_server import RawServer
from .tcp_backend import TcpBackend
from .udp import UdpBackend, UdpClient
from .weir import Weir, WeirFailed, run_cli

__all__ = [
    "Admin", "Authority", "Deadline", "DnsServer", "Fields", "HttpBackend", "Metrics", "ProtocolError", "RawClient", "RawServer",
    "Reply", "SCALE", "TcpBackend", "UdpBackend", "UdpClient", "Weir", "WeirFailed", "after", "free_port", "get", "release_ports", "run_cli",
    "wait_until",
]
