"""Section of the service for operators. Part of `config`.

It must not open anything; it only says what was asked for.
"""

from __future__ import annotations

from pydantic import SecretStr

from tocsin.config.fields import HeaderSecret, Section


class Admin(Section):
    """The service for operators, beside the API on both doors."""

    key: HeaderSecret = SecretStr("")
    """key of `AdminApi`, on gRPC and below `/admin/api`; none = every call is
    refused"""
