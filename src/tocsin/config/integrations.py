"""Sections of the declared push services, and the list of further credentials.

Part of `config`. It must not connect to anything. An item has the keys of its
service's section and its own name; how sections and items make one list is said here.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, create_model

from tocsin.config.fields import (
    Bool,
    Holds,
    Kind,
    Section,
    Shown,
    Text,
    parse_objects,
)
from tocsin.config.service_section import ServiceSection
from tocsin.config.showing import show_name
from tocsin.core.push_services import SERVICES, PushService

PATH = "push_notifications.integrations"

SECTIONS: Mapping[str, str] = {
    name: f"push_notifications.{service.section}" for name, service in SERVICES.items()
}
"""Where the section of each service stands."""

Identifier = Annotated[Text, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=100)]

_Model = TypeVar("_Model", bound=Section)


class Item(Section):
    """What every item of the list has beside the keys of its service."""

    identifier: Identifier
    """its name in the API, unique"""
    active: Bool = True
    """false: nothing is sent through it"""


def _item_type(service: PushService) -> Any:
    """The class of another credential of that service."""
    settings: type[ServiceSection] = service.settings()
    own_name: Any = Literal[service.name]
    bases: Any = (settings, Item)
    return create_model(
        f"{settings.__name__}Item",
        __base__=bases,
        __module__=__name__,
        provider=(own_name, ...),
    )


def with_services(model: type[_Model]) -> type[_Model]:
    """Give the class of a section the keys of all declared services, and the list.

    They are made when the class is, since pydantic reads no field later.
    """
    fields: dict[str, Any] = {
        service.section: (service.settings(), service.settings()())
        for service in SERVICES.values()
    }
    fields["integrations"] = (_list_of_items(), ())
    made: type[_Model] = create_model(
        model.__name__,
        __base__=model,
        __module__=model.__module__,
        __doc__=model.__doc__,
        **fields,
    )
    return made


def _list_of_items() -> Any:
    """The kind of the list, for pydantic: its items are of any declared service."""
    items = [_item_type(service) for service in SERVICES.values()]
    any_item: Any = Annotated[
        functools.reduce(operator.or_, items), Field(discriminator="provider")
    ]
    return Annotated[
        tuple[any_item, ...],
        BeforeValidator(parse_objects),
        Kind("list"),
        Shown("[]"),
        Holds(),  # secrets in it: no message quotes a value
        Field(
            repr=False,
            description="further credentials: identifier, provider, active and that"
            " provider's keys",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Credential:
    """One integration: its name, and the section or item that has its keys.

    `path` leads to those keys in the configuration.
    """

    identifier: str
    provider: str
    active: bool
    settings: ServiceSection
    path: str

    @property
    def batch_size(self) -> int:
        """Recipients per job."""
        return self.settings.batch_size


def from_item(item: Any) -> Credential:
    """The integration that an item of the list is."""
    path = f"{PATH}[{show_name(item.identifier)}]"
    return Credential(item.identifier, item.provider, item.active, item, path)


def from_section(service: str, section: ServiceSection) -> Credential:
    """The integration that a section is, under its service's name."""
    return Credential(service, service, True, section, SECTIONS[service])
