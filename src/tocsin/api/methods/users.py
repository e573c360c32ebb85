"""API methods about users: status, blocking, tokens taken back.

They translate and call `UserStatusService` and `DenialService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.protocol import api_pb2


async def update_user_status(
    services: Services,
    request: api_pb2.UpdateUserStatusRequest,
    _result: api_pb2.UpdateUserStatusResult,
    _call: Call,
) -> None:
    """Write that users were active now."""
    await services.channels.statuses.update(request.users, request.state)


async def get_user_status(
    services: Services,
    request: api_pb2.GetUserStatusRequest,
    result: api_pb2.GetUserStatusResult,
    _call: Call,
) -> None:
    """When users were active and online."""
    for status in await services.channels.statuses.fetch(request.users):
        result.statuses.add(
            user=status.user,
            active=status.active,
            online=status.online,
            state=status.state,
        )


async def delete_user_status(
    services: Services,
    request: api_pb2.DeleteUserStatusRequest,
    _result: api_pb2.DeleteUserStatusResult,
    _call: Call,
) -> None:
    """Forget when users were active and online."""
    await services.channels.statuses.delete(request.users)


async def block_user(
    services: Services,
    request: api_pb2.BlockUserRequest,
    _result: api_pb2.BlockUserResult,
    _call: Call,
) -> None:
    """Block a user."""
    denials = services.channels.denials
    await denials.block(request.user, expire_at=request.expire_at)


async def unblock_user(
    services: Services,
    request: api_pb2.UnblockUserRequest,
    _result: api_pb2.UnblockUserResult,
    _call: Call,
) -> None:
    """Unblock a user."""
    await services.channels.denials.unblock(request.user)


async def revoke_token(
    services: Services,
    request: api_pb2.RevokeTokenRequest,
    _result: api_pb2.RevokeTokenResult,
    _call: Call,
) -> None:
    """Take one token back."""
    denials = services.channels.denials
    await denials.revoke(request.uid, expire_at=request.expire_at)


async def invalidate_user_tokens(
    services: Services,
    request: api_pb2.InvalidateUserTokensRequest,
    _result: api_pb2.InvalidateUserTokensResult,
    _call: Call,
) -> None:
    """Take a user's older tokens back."""
    await services.channels.denials.invalidate(
        request.user,
        channel=request.channel,
        issued_before=request.issued_before,
        expire_at=request.expire_at,
    )
