"""From the configuration to the keys that open the doors of both services."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.api.auth import ADMIN_KEY, AccessKey, KeyRing, digest_of
from tocsin.config import Config
from tocsin.config.server import GrpcApi, HttpApiSection
from tocsin.core.api_methods import ADMIN_METHODS


class DoorKeys:
    """The keys of both doors, of each for the API and for operators."""

    def __init__(self, config: Config) -> None:
        self.http = KeyRing()
        self.http_operators = KeyRing()
        self.grpc = KeyRing()
        self.grpc_operators = KeyRing()
        self.take(config)

    def take(self, config: Config) -> None:
        """Let in who has a key of this configuration from now on, and nobody else."""
        admin = config.admin.key.get_secret_value()
        for door, keys, operators in (
            (config.http_api, self.http, self.http_operators),
            (config.grpc_api, self.grpc, self.grpc_operators),
        ):
            named = list(_named_keys(door))
            single = door.key.get_secret_value()
            first = [AccessKey("", digest_of(single))] if single else []
            keys.replace([*first, *named], insecure=door.insecure)
            known = [each for each in named if each.methods & ADMIN_METHODS]
            if admin:
                known.append(AccessKey(ADMIN_KEY, digest_of(admin), ADMIN_METHODS))
            operators.replace(known)


def _named_keys(door: HttpApiSection | GrpcApi) -> Iterator[AccessKey]:
    for each in door.keys:
        digest = bytes.fromhex(each.digest)
        yield AccessKey(each.name, digest, each.allowed, each.rate)
