"""API methods: which RPCs of the schema this release answers.

A test fails until every RPC of the service stands in exactly one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.api.call import Method
from tocsin.api.methods import devices, sending, topics

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
}

NOT_BUILT: frozenset[str] = frozenset(
    {
        "Batch",
        "BlockUser",
        "Broadcast",
        "CancelPush",
        "Channels",
        "Connections",
        "DeleteUserStatus",
        "Disconnect",
        "GetUserStatus",
        "History",
        "HistoryRemove",
        "Info",
        "InvalidateUserTokens",
        "MapClear",
        "MapPublish",
        "MapReadState",
        "MapReadStream",
        "MapRemove",
        "MapStats",
        "Presence",
        "PresenceStats",
        "Publish",
        "RPC",
        "Refresh",
        "RevokeToken",
        "SharedPollPublish",
        "Subscribe",
        "UnblockUser",
        "Unsubscribe",
        "UpdatePushStatus",
        "UpdateUserStatus",
    }
)
