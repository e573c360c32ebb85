from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Job(_message.Message):
    __slots__ = ("id", "push_id", "provider", "integration", "accepted_at_ms", "expire_at_ms", "attempt", "first_try_at_ms", "correlation_id", "recipient_type", "unit", "priority", "traceparent", "body", "expand", "send")
    ID_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TRY_AT_MS_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    EXPAND_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    id: str
    push_id: str
    provider: str
    integration: str
    accepted_at_ms: int
    expire_at_ms: int
    attempt: int
    first_try_at_ms: int
    correlation_id: str
    recipient_type: str
    unit: str
    priority: str
    traceparent: str
    body: Body
    expand: Expand
    send: Send
    def __init__(self, id: _Optional[str] = ..., push_id: _Optional[str] = ..., provider: _Optional[str] = ..., integration: _Optional[str] = ..., accepted_at_ms: _Optional[int] = ..., expire_at_ms: _Optional[int] = ..., attempt: _Optional[int] = ..., first_try_at_ms: _Optional[int] = ..., correlation_id: _Optional[str] = ..., recipient_type: _Optional[str] = ..., unit: _Optional[str] = ..., priority: _Optional[str] = ..., traceparent: _Optional[str] = ..., body: _Optional[_Union[Body, _Mapping]] = ..., expand: _Optional[_Union[Expand, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ...) -> None: ...

class Expand(_message.Message):
    __slots__ = ("filter", "cursor", "page", "details", "online", "until")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    cursor: str
    page: int
    details: _containers.RepeatedScalarFieldContainer[str]
    online: OnlineCheck
    until: str
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., cursor: _Optional[str] = ..., page: _Optional[int] = ..., details: _Optional[_Iterable[str]] = ..., online: _Optional[_Union[OnlineCheck, _Mapping]] = ..., until: _Optional[str] = ...) -> None: ...

class OnlineCheck(_message.Message):
    __slots__ = ("channel", "due_ms")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DUE_MS_FIELD_NUMBER: _ClassVar[int]
    channel: str
    due_ms: int
    def __init__(self, channel: _Optional[str] = ..., due_ms: _Optional[int] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("device_ids", "targets", "target_kind", "platforms", "users", "timezones", "locales", "metas", "admitted")
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TARGET_KIND_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    TIMEZONES_FIELD_NUMBER: _ClassVar[int]
    LOCALES_FIELD_NUMBER: _ClassVar[int]
    METAS_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    device_ids: _containers.RepeatedScalarFieldContainer[str]
    targets: _containers.RepeatedScalarFieldContainer[str]
    target_kind: str
    platforms: _containers.RepeatedScalarFieldContainer[str]
    users: _containers.RepeatedScalarFieldContainer[str]
    timezones: _containers.RepeatedScalarFieldContainer[str]
    locales: _containers.RepeatedScalarFieldContainer[str]
    metas: _containers.RepeatedScalarFieldContainer[str]
    admitted: bool
    def __init__(self, device_ids: _Optional[_Iterable[str]] = ..., targets: _Optional[_Iterable[str]] = ..., target_kind: _Optional[str] = ..., platforms: _Optional[_Iterable[str]] = ..., users: _Optional[_Iterable[str]] = ..., timezones: _Optional[_Iterable[str]] = ..., locales: _Optional[_Iterable[str]] = ..., metas: _Optional[_Iterable[str]] = ..., admitted: _Optional[bool] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("ids", "users", "topics", "providers", "platforms", "provider_tokens", "tags", "integrations")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    INTEGRATIONS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    users: _containers.RepeatedScalarFieldContainer[str]
    topics: _containers.RepeatedScalarFieldContainer[str]
    providers: _containers.RepeatedScalarFieldContainer[str]
    platforms: _containers.RepeatedScalarFieldContainer[str]
    provider_tokens: _containers.RepeatedCompositeFieldContainer[TokenList]
    tags: _containers.ScalarMap[str, str]
    integrations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., users: _Optional[_Iterable[str]] = ..., topics: _Optional[_Iterable[str]] = ..., providers: _Optional[_Iterable[str]] = ..., platforms: _Optional[_Iterable[str]] = ..., provider_tokens: _Optional[_Iterable[_Union[TokenList, _Mapping]]] = ..., tags: _Optional[_Mapping[str, str]] = ..., integrations: _Optional[_Iterable[str]] = ...) -> None: ...

class TokenList(_message.Message):
    __slots__ = ("provider", "tokens")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider: _Optional[str] = ..., tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("push_id", "uid", "analytics_uid", "bodies", "reliable", "rate", "window", "templating")
    class BodiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Body
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Body, _Mapping]] = ...) -> None: ...
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ANALYTICS_UID_FIELD_NUMBER: _ClassVar[int]
    BODIES_FIELD_NUMBER: _ClassVar[int]
    RELIABLE_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TEMPLATING_FIELD_NUMBER: _ClassVar[int]
    push_id: str
    uid: str
    analytics_uid: str
    bodies: _containers.MessageMap[str, Body]
    reliable: bool
    rate: RateRule
    window: TimeWindow
    templating: Templating
    def __init__(self, push_id: _Optional[str] = ..., uid: _Optional[str] = ..., analytics_uid: _Optional[str] = ..., bodies: _Optional[_Mapping[str, Body]] = ..., reliable: _Optional[bool] = ..., rate: _Optional[_Union[RateRule, _Mapping]] = ..., window: _Optional[_Union[TimeWindow, _Mapping]] = ..., templating: _Optional[_Union[Templating, _Mapping]] = ...) -> None: ...

class RateRule(_message.Message):
    __slots__ = ("key", "limits", "drop")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    key: str
    limits: _containers.RepeatedCompositeFieldContainer[RateLimit]
    drop: bool
    def __init__(self, key: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[RateLimit, _Mapping]]] = ..., drop: _Optional[bool] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("rate", "interval_ms")
    RATE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    rate: int
    interval_ms: int
    def __init__(self, rate: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class TimeWindow(_message.Message):
    __slots__ = ("after_s", "before_s", "no_tz_send_now")
    AFTER_S_FIELD_NUMBER: _ClassVar[int]
    BEFORE_S_FIELD_NUMBER: _ClassVar[int]
    NO_TZ_SEND_NOW_FIELD_NUMBER: _ClassVar[int]
    after_s: int
    before_s: int
    no_tz_send_now: bool
    def __init__(self, after_s: _Optional[int] = ..., before_s: _Optional[int] = ..., no_tz_send_now: _Optional[bool] = ...) -> None: ...

class Templating(_message.Message):
    __slots__ = ("localizations", "use_meta")
    class LocalizationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Texts
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Texts, _Mapping]] = ...) -> None: ...
    LOCALIZATIONS_FIELD_NUMBER: _ClassVar[int]
    USE_META_FIELD_NUMBER: _ClassVar[int]
    localizations: _containers.MessageMap[str, Texts]
    use_meta: bool
    def __init__(self, localizations: _Optional[_Mapping[str, Texts]] = ..., use_meta: _Optional[bool] = ...) -> None: ...

class Texts(_message.Message):
    __slots__ = ("by_name",)
    class ByNameEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    by_name: _containers.ScalarMap[str, str]
    def __init__(self, by_name: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("message", "headers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    message: bytes
    headers: _containers.ScalarMap[str, str]
    def __init__(self, message: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("payload", "jobs")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("job", "reason", "at_ms", "payload")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    job: Job
    reason: str
    at_ms: int
    payload: Payload
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., reason: _Optional[str] = ..., at_ms: _Optional[int] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...
