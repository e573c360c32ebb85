from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Error(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class DeadLetterFilter(_message.Message):
    __slots__ = ("reasons", "providers", "integrations", "push_ids", "uids", "since_ms", "until_ms")
    REASONS_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    INTEGRATIONS_FIELD_NUMBER: _ClassVar[int]
    PUSH_IDS_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    reasons: _containers.RepeatedScalarFieldContainer[str]
    providers: _containers.RepeatedScalarFieldContainer[str]
    integrations: _containers.RepeatedScalarFieldContainer[str]
    push_ids: _containers.RepeatedScalarFieldContainer[str]
    uids: _containers.RepeatedScalarFieldContainer[str]
    since_ms: int
    until_ms: int
    def __init__(self, reasons: _Optional[_Iterable[str]] = ..., providers: _Optional[_Iterable[str]] = ..., integrations: _Optional[_Iterable[str]] = ..., push_ids: _Optional[_Iterable[str]] = ..., uids: _Optional[_Iterable[str]] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ...) -> None: ...

class DeadLetterSummary(_message.Message):
    __slots__ = ("id", "reason", "detail", "at_ms", "uid", "push_id", "stage", "provider", "integration", "attempt", "recipients")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    detail: str
    at_ms: int
    uid: str
    push_id: str
    stage: str
    provider: str
    integration: str
    attempt: int
    recipients: int
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., at_ms: _Optional[int] = ..., uid: _Optional[str] = ..., push_id: _Optional[str] = ..., stage: _Optional[str] = ..., provider: _Optional[str] = ..., integration: _Optional[str] = ..., attempt: _Optional[int] = ..., recipients: _Optional[int] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("filter", "cursor", "limit")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    filter: DeadLetterFilter
    cursor: str
    limit: int
    def __init__(self, filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDeadLettersResult(_message.Message):
    __slots__ = ("items", "next_cursor", "has_more")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[DeadLetterSummary]
    next_cursor: str
    has_more: bool
    def __init__(self, items: _Optional[_Iterable[_Union[DeadLetterSummary, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., has_more: _Optional[bool] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListDeadLettersResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListDeadLettersResult, _Mapping]] = ...) -> None: ...

class ListDeadLetterGroupsRequest(_message.Message):
    __slots__ = ("filter",)
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: DeadLetterFilter
    def __init__(self, filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ...) -> None: ...

class DeadLetterGroup(_message.Message):
    __slots__ = ("reason", "provider", "integration", "letters", "recipients", "first_ms", "last_ms", "example_id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_MS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    reason: str
    provider: str
    integration: str
    letters: int
    recipients: int
    first_ms: int
    last_ms: int
    example_id: str
    def __init__(self, reason: _Optional[str] = ..., provider: _Optional[str] = ..., integration: _Optional[str] = ..., letters: _Optional[int] = ..., recipients: _Optional[int] = ..., first_ms: _Optional[int] = ..., last_ms: _Optional[int] = ..., example_id: _Optional[str] = ...) -> None: ...

class ListDeadLetterGroupsResult(_message.Message):
    __slots__ = ("groups", "letters")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[DeadLetterGroup]
    letters: int
    def __init__(self, groups: _Optional[_Iterable[_Union[DeadLetterGroup, _Mapping]]] = ..., letters: _Optional[int] = ...) -> None: ...

class ListDeadLetterGroupsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListDeadLetterGroupsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListDeadLetterGroupsResult, _Mapping]] = ...) -> None: ...

class GetDeadLetterRequest(_message.Message):
    __slots__ = ("id", "with_body")
    ID_FIELD_NUMBER: _ClassVar[int]
    WITH_BODY_FIELD_NUMBER: _ClassVar[int]
    id: str
    with_body: bool
    def __init__(self, id: _Optional[str] = ..., with_body: _Optional[bool] = ...) -> None: ...

class DeadLetterRecipient(_message.Message):
    __slots__ = ("device_id", "platform", "target")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    platform: str
    target: str
    def __init__(self, device_id: _Optional[str] = ..., platform: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class DeadLetterWalk(_message.Message):
    __slots__ = ("ids", "users", "topics", "providers", "platforms", "integrations", "tags", "provider_tokens", "cursor", "page")
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
    INTEGRATIONS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    users: _containers.RepeatedScalarFieldContainer[str]
    topics: _containers.RepeatedScalarFieldContainer[str]
    providers: _containers.RepeatedScalarFieldContainer[str]
    platforms: _containers.RepeatedScalarFieldContainer[str]
    integrations: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.ScalarMap[str, str]
    provider_tokens: int
    cursor: str
    page: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., users: _Optional[_Iterable[str]] = ..., topics: _Optional[_Iterable[str]] = ..., providers: _Optional[_Iterable[str]] = ..., platforms: _Optional[_Iterable[str]] = ..., integrations: _Optional[_Iterable[str]] = ..., tags: _Optional[_Mapping[str, str]] = ..., provider_tokens: _Optional[int] = ..., cursor: _Optional[str] = ..., page: _Optional[int] = ...) -> None: ...

class GetDeadLetterResult(_message.Message):
    __slots__ = ("summary", "job_id", "correlation_id", "recipient_type", "accepted_at_ms", "expire_at_ms", "first_try_at_ms", "recipients", "walk", "body")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TRY_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    WALK_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    summary: DeadLetterSummary
    job_id: str
    correlation_id: str
    recipient_type: str
    accepted_at_ms: int
    expire_at_ms: int
    first_try_at_ms: int
    recipients: _containers.RepeatedCompositeFieldContainer[DeadLetterRecipient]
    walk: DeadLetterWalk
    body: DeadLetterBody
    def __init__(self, summary: _Optional[_Union[DeadLetterSummary, _Mapping]] = ..., job_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., recipient_type: _Optional[str] = ..., accepted_at_ms: _Optional[int] = ..., expire_at_ms: _Optional[int] = ..., first_try_at_ms: _Optional[int] = ..., recipients: _Optional[_Iterable[_Union[DeadLetterRecipient, _Mapping]]] = ..., walk: _Optional[_Union[DeadLetterWalk, _Mapping]] = ..., body: _Optional[_Union[DeadLetterBody, _Mapping]] = ...) -> None: ...

class GetDeadLetterResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: GetDeadLetterResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[GetDeadLetterResult, _Mapping]] = ...) -> None: ...

class DeadLetterBody(_message.Message):
    __slots__ = ("provider", "message", "headers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    message: bytes
    headers: _containers.ScalarMap[str, str]
    def __init__(self, provider: _Optional[str] = ..., message: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ReplayDeadLettersRequest(_message.Message):
    __slots__ = ("ids", "filter", "all", "cursor", "limit", "body")
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    filter: DeadLetterFilter
    all: bool
    cursor: str
    limit: int
    body: DeadLetterBody
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., all: _Optional[bool] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ..., body: _Optional[_Union[DeadLetterBody, _Mapping]] = ...) -> None: ...

class ReplayDeadLettersResult(_message.Message):
    __slots__ = ("replayed", "matched", "unknown_ids", "next_cursor")
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    replayed: int
    matched: int
    unknown_ids: _containers.RepeatedScalarFieldContainer[str]
    next_cursor: str
    def __init__(self, replayed: _Optional[int] = ..., matched: _Optional[int] = ..., unknown_ids: _Optional[_Iterable[str]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class ReplayDeadLettersResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ReplayDeadLettersResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ReplayDeadLettersResult, _Mapping]] = ...) -> None: ...

class PurgeDeadLettersRequest(_message.Message):
    __slots__ = ("ids", "filter", "all", "cursor", "limit")
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    filter: DeadLetterFilter
    all: bool
    cursor: str
    limit: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., all: _Optional[bool] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class PurgeDeadLettersResult(_message.Message):
    __slots__ = ("purged", "matched", "unknown_ids", "next_cursor")
    PURGED_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    purged: int
    matched: int
    unknown_ids: _containers.RepeatedScalarFieldContainer[str]
    next_cursor: str
    def __init__(self, purged: _Optional[int] = ..., matched: _Optional[int] = ..., unknown_ids: _Optional[_Iterable[str]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class PurgeDeadLettersResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: PurgeDeadLettersResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[PurgeDeadLettersResult, _Mapping]] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("id", "at_ms", "actor", "address", "door", "method", "subject", "count", "result")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    id: str
    at_ms: int
    actor: str
    address: str
    door: str
    method: str
    subject: str
    count: int
    result: str
    def __init__(self, id: _Optional[str] = ..., at_ms: _Optional[int] = ..., actor: _Optional[str] = ..., address: _Optional[str] = ..., door: _Optional[str] = ..., method: _Optional[str] = ..., subject: _Optional[str] = ..., count: _Optional[int] = ..., result: _Optional[str] = ...) -> None: ...

class ListAuditLogRequest(_message.Message):
    __slots__ = ("actors", "methods", "since_ms", "until_ms", "cursor", "limit")
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    actors: _containers.RepeatedScalarFieldContainer[str]
    methods: _containers.RepeatedScalarFieldContainer[str]
    since_ms: int
    until_ms: int
    cursor: str
    limit: int
    def __init__(self, actors: _Optional[_Iterable[str]] = ..., methods: _Optional[_Iterable[str]] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListAuditLogResult(_message.Message):
    __slots__ = ("items", "next_cursor", "has_more")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    next_cursor: str
    has_more: bool
    def __init__(self, items: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., has_more: _Optional[bool] = ...) -> None: ...

class ListAuditLogResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListAuditLogResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListAuditLogResult, _Mapping]] = ...) -> None: ...

class CredentialStatus(_message.Message):
    __slots__ = ("provider", "integration", "state", "code", "detail", "push_id", "opened_at_ms", "until_ms", "failed_probes", "waiting_jobs", "is_configured")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    FAILED_PROBES_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    IS_CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    provider: str
    integration: str
    state: str
    code: str
    detail: str
    push_id: str
    opened_at_ms: int
    until_ms: int
    failed_probes: int
    waiting_jobs: int
    is_configured: bool
    def __init__(self, provider: _Optional[str] = ..., integration: _Optional[str] = ..., state: _Optional[str] = ..., code: _Optional[str] = ..., detail: _Optional[str] = ..., push_id: _Optional[str] = ..., opened_at_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., failed_probes: _Optional[int] = ..., waiting_jobs: _Optional[int] = ..., is_configured: _Optional[bool] = ...) -> None: ...

class ListCredentialsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCredentialsResult(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[CredentialStatus]
    def __init__(self, items: _Optional[_Iterable[_Union[CredentialStatus, _Mapping]]] = ...) -> None: ...

class ListCredentialsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListCredentialsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListCredentialsResult, _Mapping]] = ...) -> None: ...

class ProbeCredentialRequest(_message.Message):
    __slots__ = ("integration",)
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    integration: str
    def __init__(self, integration: _Optional[str] = ...) -> None: ...

class ProbeCredentialResult(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class ProbeCredentialResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ProbeCredentialResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ProbeCredentialResult, _Mapping]] = ...) -> None: ...

class CloseCredentialRequest(_message.Message):
    __slots__ = ("integration",)
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    integration: str
    def __init__(self, integration: _Optional[str] = ...) -> None: ...

class CloseCredentialResult(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class CloseCredentialResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: CloseCredentialResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[CloseCredentialResult, _Mapping]] = ...) -> None: ...

class RemovalFilter(_message.Message):
    __slots__ = ("ids", "users", "topics", "providers", "integrations", "reasons", "since_ms", "until_ms")
    IDS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    INTEGRATIONS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    users: _containers.RepeatedScalarFieldContainer[str]
    topics: _containers.RepeatedScalarFieldContainer[str]
    providers: _containers.RepeatedScalarFieldContainer[str]
    integrations: _containers.RepeatedScalarFieldContainer[str]
    reasons: _containers.RepeatedScalarFieldContainer[str]
    since_ms: int
    until_ms: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., users: _Optional[_Iterable[str]] = ..., topics: _Optional[_Iterable[str]] = ..., providers: _Optional[_Iterable[str]] = ..., integrations: _Optional[_Iterable[str]] = ..., reasons: _Optional[_Iterable[str]] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ...) -> None: ...

class RemovalGroup(_message.Message):
    __slots__ = ("provider", "integration", "reason", "devices")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    provider: str
    integration: str
    reason: str
    devices: int
    def __init__(self, provider: _Optional[str] = ..., integration: _Optional[str] = ..., reason: _Optional[str] = ..., devices: _Optional[int] = ...) -> None: ...

class ListRemovalsRequest(_message.Message):
    __slots__ = ("filter",)
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: RemovalFilter
    def __init__(self, filter: _Optional[_Union[RemovalFilter, _Mapping]] = ...) -> None: ...

class ListRemovalsResult(_message.Message):
    __slots__ = ("groups", "devices")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[RemovalGroup]
    devices: int
    def __init__(self, groups: _Optional[_Iterable[_Union[RemovalGroup, _Mapping]]] = ..., devices: _Optional[int] = ...) -> None: ...

class ListRemovalsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListRemovalsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListRemovalsResult, _Mapping]] = ...) -> None: ...

class ApproveRemovalsRequest(_message.Message):
    __slots__ = ("filter", "all")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    filter: RemovalFilter
    all: bool
    def __init__(self, filter: _Optional[_Union[RemovalFilter, _Mapping]] = ..., all: _Optional[bool] = ...) -> None: ...

class ApproveRemovalsResult(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: int
    def __init__(self, removed: _Optional[int] = ...) -> None: ...

class ApproveRemovalsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ApproveRemovalsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ApproveRemovalsResult, _Mapping]] = ...) -> None: ...

class RestoreRemovalsRequest(_message.Message):
    __slots__ = ("filter", "all")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    filter: RemovalFilter
    all: bool
    def __init__(self, filter: _Optional[_Union[RemovalFilter, _Mapping]] = ..., all: _Optional[bool] = ...) -> None: ...

class RestoreRemovalsResult(_message.Message):
    __slots__ = ("restored",)
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    restored: int
    def __init__(self, restored: _Optional[int] = ...) -> None: ...

class RestoreRemovalsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: RestoreRemovalsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[RestoreRemovalsResult, _Mapping]] = ...) -> None: ...

class SendAccount(_message.Message):
    __slots__ = ("matched", "delivered", "unconfirmed", "removed", "expired", "cancelled", "dropped", "reached_online", "dead_lettered", "open", "unread")
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    REACHED_ONLINE_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERED_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    matched: int
    delivered: int
    unconfirmed: int
    removed: int
    expired: int
    cancelled: int
    dropped: int
    reached_online: int
    dead_lettered: int
    open: int
    unread: int
    def __init__(self, matched: _Optional[int] = ..., delivered: _Optional[int] = ..., unconfirmed: _Optional[int] = ..., removed: _Optional[int] = ..., expired: _Optional[int] = ..., cancelled: _Optional[int] = ..., dropped: _Optional[int] = ..., reached_online: _Optional[int] = ..., dead_lettered: _Optional[int] = ..., open: _Optional[int] = ..., unread: _Optional[int] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("uid", "push_id", "state", "why", "recipient_type", "priority", "analytics_uid", "request_id", "trace_id", "accepted_at_ms", "due_at_ms", "expire_at_ms", "ended_at_ms", "account", "repairs", "fault")
    UID_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ANALYTICS_UID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    uid: str
    push_id: str
    state: str
    why: str
    recipient_type: str
    priority: str
    analytics_uid: str
    request_id: str
    trace_id: str
    accepted_at_ms: int
    due_at_ms: int
    expire_at_ms: int
    ended_at_ms: int
    account: SendAccount
    repairs: int
    fault: str
    def __init__(self, uid: _Optional[str] = ..., push_id: _Optional[str] = ..., state: _Optional[str] = ..., why: _Optional[str] = ..., recipient_type: _Optional[str] = ..., priority: _Optional[str] = ..., analytics_uid: _Optional[str] = ..., request_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., accepted_at_ms: _Optional[int] = ..., due_at_ms: _Optional[int] = ..., expire_at_ms: _Optional[int] = ..., ended_at_ms: _Optional[int] = ..., account: _Optional[_Union[SendAccount, _Mapping]] = ..., repairs: _Optional[int] = ..., fault: _Optional[str] = ...) -> None: ...

class SendWalk(_message.Message):
    __slots__ = ("provider", "integration", "page", "after_device", "until_device")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    AFTER_DEVICE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_DEVICE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    integration: str
    page: int
    after_device: str
    until_device: str
    def __init__(self, provider: _Optional[str] = ..., integration: _Optional[str] = ..., page: _Optional[int] = ..., after_device: _Optional[str] = ..., until_device: _Optional[str] = ...) -> None: ...

class SendHold(_message.Message):
    __slots__ = ("kind", "provider", "integration", "reason", "since_ms", "until_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    provider: str
    integration: str
    reason: str
    since_ms: int
    until_ms: int
    def __init__(self, kind: _Optional[str] = ..., provider: _Optional[str] = ..., integration: _Optional[str] = ..., reason: _Optional[str] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ...) -> None: ...

class GetSendRequest(_message.Message):
    __slots__ = ("uid", "push_id")
    UID_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    push_id: str
    def __init__(self, uid: _Optional[str] = ..., push_id: _Optional[str] = ...) -> None: ...

class GetSendResult(_message.Message):
    __slots__ = ("send", "walks", "open_units", "holds", "dead_letters", "dead_letters_cut")
    SEND_FIELD_NUMBER: _ClassVar[int]
    WALKS_FIELD_NUMBER: _ClassVar[int]
    OPEN_UNITS_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_CUT_FIELD_NUMBER: _ClassVar[int]
    send: Send
    walks: _containers.RepeatedCompositeFieldContainer[SendWalk]
    open_units: int
    holds: _containers.RepeatedCompositeFieldContainer[SendHold]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetterGroup]
    dead_letters_cut: bool
    def __init__(self, send: _Optional[_Union[Send, _Mapping]] = ..., walks: _Optional[_Iterable[_Union[SendWalk, _Mapping]]] = ..., open_units: _Optional[int] = ..., holds: _Optional[_Iterable[_Union[SendHold, _Mapping]]] = ..., dead_letters: _Optional[_Iterable[_Union[DeadLetterGroup, _Mapping]]] = ..., dead_letters_cut: _Optional[bool] = ...) -> None: ...

class GetSendResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: GetSendResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[GetSendResult, _Mapping]] = ...) -> None: ...

class ListSendsRequest(_message.Message):
    __slots__ = ("states", "uid", "since_ms", "until_ms", "cursor", "limit")
    STATES_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[str]
    uid: str
    since_ms: int
    until_ms: int
    cursor: str
    limit: int
    def __init__(self, states: _Optional[_Iterable[str]] = ..., uid: _Optional[str] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListSendsResult(_message.Message):
    __slots__ = ("items", "next_cursor", "has_more")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Send]
    next_cursor: str
    has_more: bool
    def __init__(self, items: _Optional[_Iterable[_Union[Send, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., has_more: _Optional[bool] = ...) -> None: ...

class ListSendsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListSendsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListSendsResult, _Mapping]] = ...) -> None: ...

class AuditSendsRequest(_message.Message):
    __slots__ = ("since_ms", "until_ms", "cursor", "limit")
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    since_ms: int
    until_ms: int
    cursor: str
    limit: int
    def __init__(self, since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class SendFinding(_message.Message):
    __slots__ = ("uid", "push_id", "kind", "what", "todo")
    UID_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    TODO_FIELD_NUMBER: _ClassVar[int]
    uid: str
    push_id: str
    kind: str
    what: str
    todo: str
    def __init__(self, uid: _Optional[str] = ..., push_id: _Optional[str] = ..., kind: _Optional[str] = ..., what: _Optional[str] = ..., todo: _Optional[str] = ...) -> None: ...

class AuditSendsResult(_message.Message):
    __slots__ = ("findings", "checked", "open", "next_cursor", "has_more")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[SendFinding]
    checked: int
    open: int
    next_cursor: str
    has_more: bool
    def __init__(self, findings: _Optional[_Iterable[_Union[SendFinding, _Mapping]]] = ..., checked: _Optional[int] = ..., open: _Optional[int] = ..., next_cursor: _Optional[str] = ..., has_more: _Optional[bool] = ...) -> None: ...

class AuditSendsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: AuditSendsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[AuditSendsResult, _Mapping]] = ...) -> None: ...

class ResultEvent(_message.Message):
    __slots__ = ("position", "detail", "outcome", "push_id", "uid", "analytics_uid", "provider", "integration", "device_id", "user", "target_sha256", "code", "provider_code", "message_id", "unique_id", "attempt", "accepted_at_ms", "answered_at_ms", "recorded_at_ms", "counts")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PUSH_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ANALYTICS_UID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TARGET_SHA256_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    position: int
    detail: str
    outcome: str
    push_id: str
    uid: str
    analytics_uid: str
    provider: str
    integration: str
    device_id: str
    user: str
    target_sha256: str
    code: str
    provider_code: str
    message_id: str
    unique_id: str
    attempt: int
    accepted_at_ms: int
    answered_at_ms: int
    recorded_at_ms: int
    counts: _containers.ScalarMap[str, int]
    def __init__(self, position: _Optional[int] = ..., detail: _Optional[str] = ..., outcome: _Optional[str] = ..., push_id: _Optional[str] = ..., uid: _Optional[str] = ..., analytics_uid: _Optional[str] = ..., provider: _Optional[str] = ..., integration: _Optional[str] = ..., device_id: _Optional[str] = ..., user: _Optional[str] = ..., target_sha256: _Optional[str] = ..., code: _Optional[str] = ..., provider_code: _Optional[str] = ..., message_id: _Optional[str] = ..., unique_id: _Optional[str] = ..., attempt: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., answered_at_ms: _Optional[int] = ..., recorded_at_ms: _Optional[int] = ..., counts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ResultFilter(_message.Message):
    __slots__ = ("uids", "outcomes", "providers", "details")
    UIDS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    uids: _containers.RepeatedScalarFieldContainer[str]
    outcomes: _containers.RepeatedScalarFieldContainer[str]
    providers: _containers.RepeatedScalarFieldContainer[str]
    details: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, uids: _Optional[_Iterable[str]] = ..., outcomes: _Optional[_Iterable[str]] = ..., providers: _Optional[_Iterable[str]] = ..., details: _Optional[_Iterable[str]] = ...) -> None: ...

class ListResultsRequest(_message.Message):
    __slots__ = ("filter", "position", "from_now", "limit", "wait_s")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    filter: ResultFilter
    position: int
    from_now: bool
    limit: int
    wait_s: float
    def __init__(self, filter: _Optional[_Union[ResultFilter, _Mapping]] = ..., position: _Optional[int] = ..., from_now: _Optional[bool] = ..., limit: _Optional[int] = ..., wait_s: _Optional[float] = ...) -> None: ...

class ListResultsResult(_message.Message):
    __slots__ = ("results", "position")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ResultEvent]
    position: int
    def __init__(self, results: _Optional[_Iterable[_Union[ResultEvent, _Mapping]]] = ..., position: _Optional[int] = ...) -> None: ...

class ListResultsResponse(_message.Message):
    __slots__ = ("error", "result")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: Error
    result: ListResultsResult
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ..., result: _Optional[_Union[ListResultsResult, _Mapping]] = ...) -> None: ...

class WatchResultsRequest(_message.Message):
    __slots__ = ("filter", "position", "from_now")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    filter: ResultFilter
    position: int
    from_now: bool
    def __init__(self, filter: _Optional[_Union[ResultFilter, _Mapping]] = ..., position: _Optional[int] = ..., from_now: _Optional[bool] = ...) -> None: ...

class WatchResultsResponse(_message.Message):
    __slots__ = ("results", "position")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ResultEvent]
    position: int
    def __init__(self, results: _Optional[_Iterable[_Union[ResultEvent, _Mapping]]] = ..., position: _Optional[int] = ...) -> None: ...
