"""API methods: the one table of RPCs that gRPC, HTTP and batches share.

Every RPC of `CentrifugoApi` is in `BUILT` or in `COMPOSED`, every one of `AdminApi` in
`ADMIN_BUILT` or `ADMIN_STREAMS`, which a test checks. It runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from tocsin.api.call import Command, Method, Stream
from tocsin.api.methods import (
    audit_log,
    cluster,
    control,
    credentials,
    dead_letters,
    devices,
    maps,
    publication,
    removals,
    results,
    sending,
    sends,
    streams,
    topics,
    users,
)
from tocsin.core.api_methods import ADMIN_PREFIX, snake_case
from tocsin.protocol import admin_pb2, api_pb2

SERVICE = api_pb2.DESCRIPTOR.services_by_name["CentrifugoApi"]
ADMIN_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["AdminApi"]

BUILT: Mapping[str, Method] = {
    "DeviceRegister": devices.device_register,
    "DeviceUpdate": devices.device_update,
    "DeviceRemove": devices.device_remove,
    "DeviceList": devices.device_list,
    "DeviceTopicList": topics.device_topic_list,
    "DeviceTopicUpdate": topics.device_topic_update,
    "UserTopicList": topics.user_topic_list,
    "UserTopicUpdate": topics.user_topic_update,
    "SendPushNotification": sending.send_push_notification,
    "CancelPush": sending.cancel_push,
    "UpdatePushStatus": sending.update_push_status,
    "Publish": publication.publish,
    "Broadcast": publication.broadcast,
    "Subscribe": control.subscribe,
    "Unsubscribe": control.unsubscribe,
    "Disconnect": control.disconnect,
    "Refresh": control.refresh,
    "History": streams.history,
    "HistoryRemove": streams.history_remove,
    "Presence": streams.presence,
    "PresenceStats": streams.presence_stats,
    "Channels": cluster.channels,
    "Connections": cluster.connections,
    "Info": cluster.info,
    "RPC": cluster.rpc,
    "UpdateUserStatus": users.update_user_status,
    "GetUserStatus": users.get_user_status,
    "DeleteUserStatus": users.delete_user_status,
    "BlockUser": users.block_user,
    "UnblockUser": users.unblock_user,
    "RevokeToken": users.revoke_token,
    "InvalidateUserTokens": users.invalidate_user_tokens,
    "MapPublish": maps.not_available("map_publish"),
    "MapRemove": maps.not_available("map_remove"),
    "MapReadState": maps.not_available("map_read_state"),
    "MapReadStream": maps.not_available("map_read_stream"),
    "MapStats": maps.not_available("map_stats"),
    "MapClear": maps.not_available("map_clear"),
    "SharedPollPublish": maps.not_available("shared_poll_publish"),
}

ADMIN_BUILT: Mapping[str, Method] = {
    "ListDeadLetters": dead_letters.list_dead_letters,
    "ListDeadLetterGroups": dead_letters.list_dead_letter_groups,
    "GetDeadLetter": dead_letters.get_dead_letter,
    "ReplayDeadLetters": dead_letters.replay_dead_letters,
    "PurgeDeadLetters": dead_letters.purge_dead_letters,
    "ListCredentials": credentials.list_credentials,
    "ProbeCredential": credentials.probe_credential,
    "CloseCredential": credentials.close_credential,
    "ListRemovals": removals.list_removals,
    "ApproveRemovals": removals.approve_removals,
    "RestoreRemovals": removals.restore_removals,
    "ListAuditLog": audit_log.list_audit_log,
    "GetSend": sends.get_send,
    "ListSends": sends.list_sends,
    "AuditSends": sends.audit_sends,
    "ListResults": results.list_results,
}

ADMIN_STREAMS: Mapping[str, Stream] = {"WatchResults": results.watch_results}
"""RPCs that answer with a stream, on gRPC alone."""

COMPOSED: frozenset[str] = frozenset({"Batch"})
"""RPCs that consist of others; each door runs them itself."""


def _command(rpc: Any, method: Method, right_prefix: str = "") -> Command:
    name = snake_case(rpc.name)
    return Command(
        rpc=rpc.name,
        name=name,
        right=right_prefix + name,
        request_class=GetMessageClass(rpc.input_type),
        response_class=GetMessageClass(rpc.output_type),
        result_class=GetMessageClass(
            rpc.output_type.fields_by_name["result"].message_type
        ),
        method=method,
    )


COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        _command(rpc, BUILT[rpc.name])
        for rpc in SERVICE.methods
        if rpc.name not in COMPOSED
    )
}
"""Every RPC but the composed ones, by name, in the order of the schema."""

ADMIN_COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        _command(rpc, ADMIN_BUILT[rpc.name], ADMIN_PREFIX)
        for rpc in ADMIN_SERVICE.methods
        if rpc.name not in ADMIN_STREAMS
    )
}
"""Every RPC of `AdminApi` without a stream, by name, in the order of the schema."""
