from __future__ import annotations

from tests.unit.providers.test_webpush_answers import reply_with

from tocsin.providers import expo_answers as expo
from tocsin.providers import fcm_answers as fcm
from tocsin.providers import hms_answers as hms
from tocsin.providers import webpush_answers as webpush
from tocsin.providers.answer_class import class_of_status, hide_targets


def test_targets_are_hidden_wherever_they_stand() -> None:
    """Also one inside another, and two that overlap."""
    text = "abc, bc and cde: abcde"
    assert (
        hide_targets(text, ["bc", "abc", "cde"])
        == "<target>, <target> and <target>: <target>"
    )
    assert hide_targets("about a-b", ["a-b"], mark="<it>") == "about <it>"
    assert hide_targets("nothing", ["", "x"]) == "nothing"


def test_marks_are_not_searched_for_targets() -> None:
    """Users may be named like letters of a mark: each mark would become many."""
    targets = ["t", "a", "r", "g", "e", "t", "target"] * 40
    assert hide_targets("eat", targets) == "<target><target><target>"


def test_every_table_tells_bodies_from_recipients() -> None:
    """What every other recipient of the message would get, and what only this one."""
    of_body = {
        fcm.classify(400, b"", None).code: fcm.classify(400, b"", None).of_body,
        "hms": hms.BY_CODE["80300008"].of_body,
        "expo": expo.BY_ERROR["MessageTooBig"].of_body,
        "expo request": expo.BY_REQUEST_ERROR["VALIDATION_ERROR"].of_body,
        "status": class_of_status(413).of_body,
        "webpush": webpush.classify(reply_with(413)).of_body,
    }
    assert set(of_body.values()) == {True}, of_body
    bad_token = (
        b'{"error":{"message":"The registration token is not a valid FCM registration'
        b' token"}}'
    )
    of_one = {
        "fcm": fcm.classify(400, bad_token, None).of_body,
        "fcm dead": fcm.classify(404, b"", None).of_body,
        "hms": hms.BY_CODE["80300007"].of_body,
        "expo": expo.BY_ERROR["DeviceNotRegistered"].of_body,
        "status": class_of_status(403).of_body,
        "webpush": webpush.classify(reply_with(410)).of_body,
        "moved": webpush.classify(reply_with(301)).of_body,
    }
    assert set(of_one.values()) == {False}, of_one
