"""Ways in which people paste a credential, as changes of its bytes."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable, Mapping

Paste = Callable[[bytes], bytes]

PEM_WAYS: Mapping[str, Paste] = {
    "as it is": lambda pem: pem,
    "literal \\n": lambda pem: pem.replace(b"\n", b"\\n"),
    "literal \\r\\n": lambda pem: pem.replace(b"\n", b"\\r\\n"),
    "twice escaped": lambda pem: pem.replace(b"\n", b"\\\\n"),
    "literal \\n and line ends": lambda pem: pem.replace(b"\n", b"\\n\n"),
    "byte order mark": lambda pem: b"\xef\xbb\xbf" + pem,
    "UTF-16": lambda pem: pem.decode().encode("utf-16"),
    "Windows line ends": lambda pem: pem.replace(b"\n", b"\r\n"),
    "old Mac line ends": lambda pem: pem.replace(b"\n", b"\r"),
    "no last line end": lambda pem: pem.rstrip(),
    "blanks around": lambda pem: b"\n\n  " + pem + b"  \n",
    "in quotes": lambda pem: b'"' + pem.strip() + b'"\n',
    "in single quotes, literal \\n": lambda pem: b"'%s'" % pem.replace(b"\n", b"\\n"),
    "folded": lambda pem: pem.replace(b"\n", b" ").strip(),
    "indented": lambda pem: textwrap.indent(pem.decode(), "    ").encode(),
    "words around": lambda pem: b"Bag Attributes\n  id: 1\n" + pem + b"\nbye\n",
    "one long line": lambda pem: b"\n".join(
        (pem.split(b"\n")[0], b"".join(pem.split(b"\n")[1:-2]), pem.split(b"\n")[-2])
    ),
}
"""All of them hold what they did before, for whoever looks."""

JSON_WAYS: Mapping[str, Paste] = {
    "as it is": lambda text: text,
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "blanks around": lambda text: b"\n  " + text + b"\n\n",
    "in single quotes": lambda text: b"'" + text + b"'",
    "quotes escaped": lambda text: text.replace(b'"', b'\\"').replace(b"\\n", b"\\\\n"),
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "key with literal \\n": lambda text: text.replace(b"\\n", b"\\\\n"),
    "key with real line ends": lambda text: text.replace(b"\\n", b"\n"),
    "key folded": lambda text: text.replace(b"\\n", b" "),
}
"""Of a JSON file with a PEM key inside; `\\n` is how JSON writes a line end."""
