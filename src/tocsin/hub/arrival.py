"""Hub room: one publication, encoded at most once for each wire form.

It must not know subscribers; the feed decides who gets which bytes.
"""

from __future__ import annotations

from tocsin.core.channel import Publication
from tocsin.protocol.delta import create_delta
from tocsin.protocol.frames import (
    Encoding,
    ForeignData,
    WireForm,
    encode_publication,
    quote_data,
)
from tocsin.protocol.json_text import embed_in_line


class Arrival:
    """A publication from the broker.

    `previous` is the data of the publication before it, `None` where the publisher
    asked for no delta or the broker has none.
    """

    __slots__ = (
        "_deltas",
        "_full",
        "_json",
        "_patch",
        "channel",
        "epoch",
        "previous",
        "publication",
    )

    def __init__(
        self,
        channel: str,
        publication: Publication,
        epoch: str,
        previous: bytes | None,
    ) -> None:
        self.channel = channel
        self.publication = publication
        self.epoch = epoch
        self.previous = previous
        self._json: bytes | None = None
        self._patch: bytes | None = None
        self._full: dict[tuple[WireForm, bool], bytes] = {}
        self._deltas: dict[WireForm, bytes] = {}

    def full(self, form: WireForm, *, negotiated_delta: bool = False) -> bytes:
        """The whole publication, framed; raises `ForeignData`.

        In JSON, a subscriber that negotiated deltas takes the data as a string.
        """
        quoted = negotiated_delta and form.encoding is Encoding.JSON
        frame = self._full.get((form, quoted))
        if frame is None:
            data = self.publication.data
            if form.encoding is Encoding.JSON:
                data = self._embedded()
                if quoted:
                    data = quote_data(self.publication.data)
            frame = self._full[form, quoted] = self._encode(form, data, delta=False)
        return frame

    def delta(self, form: WireForm) -> bytes:
        """The change since `previous`, or the whole where that is not shorter."""
        frame = self._deltas.get(form)
        if frame is None:
            frame = self._deltas[form] = self._encode_delta(form)
        return frame

    def _encode_delta(self, form: WireForm) -> bytes:
        full = self.full(form, negotiated_delta=True)
        patch = self._made_patch()
        if len(patch) >= len(self.publication.data):
            return full
        if form.encoding is Encoding.JSON:
            try:
                patch = quote_data(patch)
            except ForeignData:  # the patch splits a character: not valid UTF-8
                return full
        return self._encode(form, patch, delta=True)

    def _made_patch(self) -> bytes:
        if self._patch is None:
            self._patch = create_delta(self.previous or b"", self.publication.data)
        return self._patch

    def _embedded(self) -> bytes:
        if self._json is None:
            self._json = embed_in_line(self.publication.data)
        return self._json

    def _encode(self, form: WireForm, data: bytes, *, delta: bool) -> bytes:
        return encode_publication(
            form,
            self.channel,
            self.publication,
            data=data,
            epoch=self.epoch,
            delta=delta,
        )
