"""What the server serves as its demo page, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.npm_packages import FOLDER, why_no_packages
from tests.support.whole_node import WholeNode, whole_node

from tocsin.app.client_doors import DemoPageError

ON: dict[str, Any] = {"demo": {"enabled": True}}
PARTS = {
    "": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "centrifuge.js": "text/javascript",
    "centrifuge.LICENSE.txt": "text/plain",
    "settings.json": "application/json",
}


async def fetch(node: WholeNode, path: str, **headers: str) -> tuple[Any, bytes]:
    url = f"{node.origin}{path}"
    async with node.session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer, await answer.read()


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    """Nothing is found there unless it was asked for."""
    async with whole_node(tmp_path) as node:
        for path in ("/demo", "/demo/", "/demo/centrifuge.js"):
            answer, _ = await fetch(node, path)
            assert answer.status == 404


async def test_every_part_is_served(tmp_path: Path) -> None:
    """With its type and the policy; nothing else is found, above or below."""
    async with whole_node(tmp_path, **ON) as node:
        answer, _ = await fetch(node, "/demo")
        assert (answer.status, answer.headers["Location"]) == (302, "/demo/")
        for name, kind in PARTS.items():
            answer, body = await fetch(node, f"/demo/{name}")
            assert (answer.status, answer.content_type) == (200, kind), name
            assert body
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "*" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for name in ("other", "../demo.py", "%2e%2e/demo.py", "centrifuge.js/x"):
            answer, _ = await fetch(node, f"/demo/{name}")
            assert answer.status == 404, name


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("app.example:8000", " ws://app.example:8000 wss://app.example:8000;"),
        ("app.example", " ws://app.example wss://app.example;"),
        ("[::1]:8000", ";"),
        ("x; script-src *", ";"),
        ("x 'unsafe-inline'", ";"),
        ("x\u0663", ";"),
    ],
)
async def test_the_policy_names_the_host(tmp_path: Path, host: str, named: str) -> None:
    """For WebSocket in older browsers; a host that is none gets no say."""
    async with whole_node(tmp_path, **ON) as node:
        answer, _ = await fetch(node, "/demo/", Host=host)
        policy = answer.headers["Content-Security-Policy"]
        assert f"connect-src 'self'{named} base-uri" in policy


async def test_settings_are_those_of_the_server(tmp_path: Path) -> None:
    """Paths as configured, and only transports that are on."""
    async with (
        whole_node(
            tmp_path,
            demo={"enabled": True, "handler_prefix": "/try/it"},
            websocket={"disabled": True},
            sse={"enabled": True, "handler_prefix": "/own/sse"},
            emulation={"handler_prefix": "/own/up"},
        ) as node,
        node.session.get(f"{node.origin}/try/it/settings.json") as answer,
    ):
        assert await answer.json() == {
            "transports": {
                "http_stream": "/connection/http_stream",
                "sse": "/own/sse",
            },
            "emulation": "/own/up",
        }


async def test_another_sdk(tmp_path: Path) -> None:
    """`demo.sdk_file` replaces the one that comes along; it must be there."""
    own = tmp_path / "own.js"
    own.write_text("// own")
    section = {"enabled": True, "sdk_file": str(own)}
    async with whole_node(tmp_path, demo=section) as node:
        _, body = await fetch(node, "/demo/centrifuge.js")
        assert body == b"// own"
    own.unlink()
    with pytest.raises(
        DemoPageError, match=r"demo\.sdk_file: .*own\.js cannot be read"
    ):
        async with whole_node(tmp_path, demo=section):
            pass


async def test_browsers_without_origins_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that cannot connect is said at the start, with the key."""
    async with whole_node(tmp_path, **ON):
        pass
    assert "client.allowed_origins is empty" in capsys.readouterr().out
    async with whole_node(tmp_path, client={"allowed_origins": ["*"]}, **ON):
        pass
    told = capsys.readouterr().out
    assert "the demo page is served" in told
    assert "client.allowed_origins" not in told


async def test_the_sdk_is_the_published_one(tmp_path: Path) -> None:
    """Byte for byte the file of the package that the tests lock, licences beside it."""
    async with whole_node(tmp_path, **ON) as node:
        _, served = await fetch(node, "/demo/centrifuge.js")
        _, licences = await fetch(node, "/demo/centrifuge.LICENSE.txt")
    for owner in (b"Centrifugal Labs LTD", b"Joyent, Inc.", b"Dmitry Chestnykh"):
        assert b"Copyright" in licences
        assert owner in licences
    if reason := why_no_packages():
        pytest.skip(reason)
    package = FOLDER / "node_modules" / "centrifuge"
    assert served == (package / "dist" / "centrifuge.js").read_bytes()
    assert (package / "LICENSE").read_bytes() in licences
    assert b"5.8.0" in licences
    assert b'"version": "5.8.0"' in (package / "package.json").read_bytes()
