"""The fan-out engine: an HTTP/2 client made for many small requests to few hosts.

It moves bytes, and knows nothing of pushes or providers. What follows from a failure
is for its callers to decide.
"""

from tocsin.http2.dialing import Dialer, Resolve, dial, look_up
from tocsin.http2.exchange import (
    Failure,
    FailureKind,
    Http2ConnectError,
    Http2Error,
    Http2RequestError,
    Response,
)
from tocsin.http2.head import Headers, Origin, RequestHead
from tocsin.http2.pool import Http2Pool
from tocsin.http2.tls import ClientCert, build_ssl_context, trust_file

__all__ = [
    "ClientCert",
    "Dialer",
    "Failure",
    "FailureKind",
    "Headers",
    "Http2ConnectError",
    "Http2Error",
    "Http2Pool",
    "Http2RequestError",
    "Origin",
    "RequestHead",
    "Resolve",
    "Response",
    "build_ssl_context",
    "dial",
    "look_up",
    "trust_file",
]
