"""Section of the service for operators. Part of `config`.

It must not open anything; it only says what was asked for.
"""

from __future__ import annotations

from pydantic import SecretStr

from tocsin.config.fields import Duration, HeaderSecret, Section


class Admin(Section):
    """The service for operators, beside the API on both doors."""

    key: HeaderSecret = SecretStr("")
    """key of `AdminApi`, on gRPC and below `/admin/api`; none = every call is
    refused"""
    audit_retention: Duration = 365 * 86_400.0
    """how long the audit log keeps administrative calls; 0 = for ever"""
