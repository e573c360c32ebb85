"""What callers are told of their sends afterwards. Part of `config`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tocsin.config.fields import Bool, Duration, Kind, Section


def _detail(value: object) -> object:
    # YAML reads a bare `off` as a boolean.
    return "off" if value is False else value


class Results(Section):
    """Events of what became of sends, for those who ask for them."""

    detail: Annotated[
        Literal["off", "send", "recipient"], BeforeValidator(_detail), Kind("string")
    ] = "off"
    """off, send (an event when a send is over) or recipient (one for each recipient
    too); needs a database"""
    retries: Bool = False
    """with detail recipient: also an event for each try that failed for now"""
    keep: Annotated[Duration, Field(ge=60)] = 86_400.0
    """how long events can be read"""
