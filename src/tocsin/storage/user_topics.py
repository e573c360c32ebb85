"""`UserTopicStore` on SQL: users' lists, and their devices in the same step.

Part of the storage room; it must not touch topics of other origin than the user.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import (
    GLOBAL_USER,
    Page,
    PageRequest,
    TopicOp,
    TopicOrigin,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.ids import new_id
from tocsin.storage.device_filters import LIVE, check_cursor
from tocsin.storage.device_lists import build_page
from tocsin.storage.engine import Database
from tocsin.storage.rows import among, delete_rows, has_prefix, insert_rows, lock_users
from tocsin.storage.tables import devices, user_topics
from tocsin.storage.topic_rows import fetch_rows, held_topics, write_topics
from tocsin.storage.topic_sets import change_list, change_origin, check_count


class SqlUserTopicStore:
    """Users' topics in PostgreSQL or SQLite, at most `topics_per_user` each.

    A device gets all of its user's topics, however many it has of its own.
    """

    def __init__(self, database: Database, *, topics_per_user: int = 1000) -> None:
        self._database = database
        self._topics_per_user = topics_per_user

    async def update(self, user: str, change: TopicsChange) -> None:
        """See `UserTopicStore.update`.

        Raises `BadRequest("topics", …)` for a list over the limit. The operation
        is applied to the topics that each device has from its user, so a
        repetition also mends a device that missed one.
        """

        async def work(connection: AsyncConnection) -> None:
            # Alone: a device that registers now waits, and then reads the
            # new list.
            await lock_users(connection, [user], alone=True)
            await self._change_list(connection, user, change)
            if user != GLOBAL_USER:
                await _change_devices(connection, user, change)

        await self._database.write(work)

    async def fetch_page(
        self, filter: UserTopicFilter, page: PageRequest
    ) -> Page[UserTopic]:
        """See `UserTopicStore.fetch_page`; a cursor that is no id is refused."""
        check_cursor(page)
        return await self._database.read(
            lambda connection: _list(connection, filter, page)
        )

    async def _change_list(
        self, connection: AsyncConnection, user: str, change: TopicsChange
    ) -> None:
        table = user_topics.c
        result = await connection.execute(
            select(table.topic, table.id)
            .where(table.user_id == user)
            .order_by(table.id)
        )
        stored = {row.topic: row.id for row in result}
        wanted = change_list(stored, change)
        if change.op is not TopicOp.REMOVE:
            check_count(wanted, self._topics_per_user)
        gone = stored.keys() - set(wanted)
        await delete_rows(connection, user_topics, [stored[topic] for topic in gone])
        added = [
            {"id": new_id("user_topic"), "user_id": user, "topic": topic}
            for topic in wanted
            if topic not in stored
        ]
        await insert_rows(connection, user_topics, added)


async def _change_devices(
    connection: AsyncConnection, user: str, change: TopicsChange
) -> None:
    result = await connection.execute(
        select(devices.c.id)
        .where(LIVE, devices.c.user_id == user)
        .order_by(devices.c.id)
        .with_for_update(key_share=True)
    )
    ids = list(result.scalars())
    stored = await fetch_rows(connection, ids)
    wanted = {
        device_id: change_origin(
            held_topics(stored.get(device_id, {})), change, TopicOrigin.USER
        )
        for device_id in ids
    }
    await write_topics(connection, stored, wanted)


async def _list(
    connection: AsyncConnection, filter: UserTopicFilter, page: PageRequest
) -> Page[UserTopic]:
    table, dialect = user_topics.c, connection.dialect.name
    conditions = list(has_prefix(table.topic, filter.topic_prefix))
    if filter.users:
        conditions.append(among(table.user_id, filter.users, dialect))
    if filter.topics:
        conditions.append(among(table.topic, filter.topics, dialect))
    statement = select(table.id, table.user_id, table.topic).where(*conditions)
    if page.cursor:
        statement = statement.where(table.id > page.cursor)
    result = await connection.execute(
        statement.order_by(table.id).limit(page.limit + 1)
    )
    items = [UserTopic(row_id, user, topic) for row_id, user, topic in result]
    total = None
    if page.include_total:
        total = await connection.scalar(
            select(func.count()).select_from(user_topics).where(*conditions)
        )
    return build_page(items, [item.id for item in items], page, total)
