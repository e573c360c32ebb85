"""What a worker believes of a credential."""

from __future__ import annotations

import weakref

import pytest

from tocsin.core.breaker import Cause
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.devices import RecentVerdicts
from tocsin.delivery.credentials import (
    BROKEN_AFTER,
    BROKEN_AT_LEAST,
    ENOUGH,
    FLOOD_AFTER,
    MOST_ORIGINS,
    WINDOW,
    CredentialState,
    Trust,
)

SUSPECT = Outcome(Verdict.SUSPECT, "sender_id_mismatch")
DEAD = Outcome(Verdict.UNREGISTERED, "unregistered")
REFUSED = Outcome(Verdict.REJECTED, "invalid_argument")


def state_after(*answers: tuple[int, Outcome]) -> CredentialState:
    """A credential that answered so, with what is noted shared at the end."""
    state = CredentialState("fcm", "fcm")
    for count, outcome in answers:
        for _ in range(count):
            state.note(outcome, 0)
    letters, _ = state.take_unshared()
    state.keep_own(letters)
    return state


def test_few_answers_are_no_reason_to_believe() -> None:
    """A guarded verdict counts only once fifty answers were seen."""
    assert state_after((ENOUGH - 2, DELIVERED), (1, SUSPECT)).trust() is Trust.DOUBTED
    assert state_after((ENOUGH - 1, DELIVERED), (1, SUSPECT)).trust() is Trust.BELIEVED


def test_a_tenth_is_the_border() -> None:
    """At a tenth a guarded verdict is believed; above, the credential is suspected."""
    at_border = state_after((90, DELIVERED), (10, SUSPECT))
    assert at_border.trust() is Trust.BELIEVED
    assert not at_border.is_suspicious()
    above = state_after((89, DELIVERED), (11, SUSPECT))
    assert above.trust() is Trust.DOUBTED
    assert above.is_suspicious()


def test_nobody_is_suspected_before_fifty_answers() -> None:
    """So few say nothing, however bad they are; the fiftieth does."""
    assert not state_after((ENOUGH - 1, SUSPECT)).is_suspicious()
    assert state_after((ENOUGH - 6, DELIVERED), (6, SUSPECT)).is_suspicious()


@pytest.mark.parametrize(("guarded", "trust"), [(8, Trust.DOUBTED), (9, Trust.BROKEN)])
def test_a_few_dead_ones_do_not_hide_a_broken_credential(
    guarded: int, trust: Trust
) -> None:
    """Nine tenths guarded, the rest no delivery either: it is broken all the same."""
    state = state_after((BROKEN_AT_LEAST - guarded, DEAD), (guarded, SUSPECT))
    assert state.trust() is trust


def test_only_the_last_answers_count() -> None:
    """Old guarded verdicts fall out of the window."""
    state = state_after((100, SUSPECT), (WINDOW - 21, DELIVERED))
    assert state.is_suspicious()
    state.note(DELIVERED, 0)
    assert state.trust() is Trust.BELIEVED, "also what is not shared yet counts"


def test_a_refused_message_says_nothing_of_tokens() -> None:
    """A broadcast with a bad body must not make a bad credential look healthy."""
    state = state_after((1000, REFUSED), (9, SUSPECT), (1000, REFUSED))
    assert state.trust() is Trust.DOUBTED
    assert state.recent() == "s" * 9


def test_nothing_but_guarded_verdicts_is_a_broken_credential() -> None:
    """After fifty without a delivery, however well it went before; one ends it."""
    state = state_after((WINDOW, DELIVERED), (BROKEN_AFTER - 1, SUSPECT))
    assert state.trust() is Trust.DOUBTED
    state.pause_if_broken(SUSPECT, 0)
    assert not state.is_paused(1)
    state.note(SUSPECT, 0)
    assert state.trust() is Trust.BROKEN
    state.pause_if_broken(SUSPECT, 0)
    assert state.is_paused(1)
    state.note(DELIVERED, 0)
    assert state.trust() is Trust.DOUBTED


@pytest.mark.parametrize(
    ("delivered", "guarded", "trust"),
    [
        (0, 9, Trust.DOUBTED),
        (0, 10, Trust.BROKEN),
        (20, 10, Trust.BROKEN),
        (30, 14, Trust.DOUBTED),
        (30, 15, Trust.BROKEN),
        (90, 10, Trust.BELIEVED),
        (90, 44, Trust.DOUBTED),
        (90, 45, Trust.BROKEN),
    ],
)
def test_the_more_it_delivered_the_more_proof_is_wanted(
    delivered: int, guarded: int, trust: Trust
) -> None:
    """Ten answers of a new key are enough; old devices after a healthy send are not."""
    assert state_after((delivered, DELIVERED), (guarded, SUSPECT)).trust() is trust


def test_a_broken_credential_is_a_storm() -> None:
    """It waits until somebody finds out; time alone ends nothing."""
    state = state_after((BROKEN_AFTER, SUSPECT))
    state.pause_if_broken(SUSPECT, 5, push_id="p1")
    assert state.breaker is not None
    assert (state.breaker.cause, state.breaker.push_id) == (Cause.STORM, "p1")
    opened = state.breaker
    state.pause_if_broken(SUSPECT, 6)
    assert state.breaker is opened
    assert state.is_paused(10**9)


def test_nearly_all_dead_is_a_flood() -> None:
    """Nine tenths may be true of an old registry; more is not believed."""
    assert not state_after((FLOOD_AFTER - 1, DEAD)).is_flooded()
    assert state_after((FLOOD_AFTER, DEAD)).is_flooded()
    assert not state_after((20, DELIVERED), (180, DEAD)).is_flooded()
    assert state_after((20, DELIVERED), (181, DEAD)).is_flooded()


def test_a_flood_names_whom_it_took() -> None:
    """What went within the window, once; what went before that was believed."""
    state = state_after((WINDOW, DELIVERED))
    state.note(DEAD, 0)
    state.note_removed({"long-ago": "t"})
    for _ in range(WINDOW):
        state.note(DEAD, 0)
    state.note_removed({"lately": "t"})
    assert state.take_removed_in_flood() == ["lately"]
    assert state.take_removed_in_flood() == []


def test_each_push_service_answers_for_itself() -> None:
    """One that calls everybody dead is not believed, however well others answer."""
    state = CredentialState("webpush", "webpush")
    for _ in range(10):
        for _ in range(9):
            state.note(DELIVERED, 0, "https://good.example")
        state.note(DEAD, 0, "https://bad.example")
    assert not state.is_flooded("https://bad.example")
    state.note_removed({"a": "https://bad.example/1", "b": "https://good.example/2"})
    for _ in range(10):
        for _ in range(9):
            state.note(DELIVERED, 0, "https://good.example")
        state.note(DEAD, 0, "https://bad.example")
    assert state.is_flooded("https://bad.example")
    assert not state.is_flooded("https://good.example")
    assert not state.is_flooded()
    assert state.take_removed_in_flood("https://bad.example") == ["a"]
    assert state.take_removed_in_flood("https://bad.example") == []
    assert state.take_removed_in_flood() == ["b"]


def test_a_push_service_is_believed_by_its_own_answers() -> None:
    """Few guarded verdicts among all may be all that one service says."""
    state = CredentialState("webpush", "webpush")
    for _ in range(60):
        state.note(DELIVERED, 0, "https://good.example")
    for _ in range(5):
        state.note(SUSPECT, 0, "https://bad.example")
    assert state.trust() is Trust.BELIEVED
    assert state.trust_in("") is Trust.BELIEVED
    assert state.trust_in("https://good.example") is Trust.BELIEVED
    assert state.trust_in("https://bad.example") is Trust.DOUBTED
    assert state.trust_in("https://new.example") is Trust.DOUBTED


@pytest.mark.parametrize(
    ("delivered", "guarded", "trust"),
    [
        (ENOUGH - 1, 0, Trust.DOUBTED),
        (ENOUGH, 0, Trust.BELIEVED),
        (90, 10, Trust.BELIEVED),
        (89, 11, Trust.DOUBTED),
    ],
)
def test_a_push_service_has_the_same_borders(
    delivered: int, guarded: int, trust: Trust
) -> None:
    """Fifty answers of its own, and a tenth of them guarded."""
    state = CredentialState("webpush", "webpush")
    for _ in range(100):
        state.note(DELIVERED, 0, "https://good.example")
    for _ in range(delivered):
        state.note(DELIVERED, 0, "https://own.example")
    for _ in range(guarded):
        state.note(SUSPECT, 0, "https://own.example")
    assert state.trust_in("https://own.example") is trust


def test_the_oldest_of_many_push_services_is_forgotten() -> None:
    """When another one comes that is not known; those that are known change nothing."""
    state = CredentialState("webpush", "webpush")

    def answer(service: int) -> None:
        for _ in range(ENOUGH):
            state.note(DELIVERED, 0, f"https://{service}.example")

    def believed() -> list[int]:
        services = range(MOST_ORIGINS + 1)
        trusts = {n: state.trust_in(f"https://{n}.example") for n in services}
        return [n for n, trust in trusts.items() if trust is Trust.BELIEVED]

    for service in range(MOST_ORIGINS):
        answer(service)
    answer(0)
    assert believed() == list(range(MOST_ORIGINS))
    answer(MOST_ORIGINS)
    assert believed() == list(range(1, MOST_ORIGINS + 1))


def test_a_flood_may_be_under_way_while_most_are_dead() -> None:
    """Then others are asked first; so they are before anything is known of them."""
    fresh = CredentialState("fcm", "fcm")
    fresh.note(DELIVERED, 0)
    assert fresh.is_unsure()
    for letters, unsure in {
        "d": False,
        "du": False,
        "duu": True,
        "u" * 9: True,
    }.items():
        state = CredentialState("fcm", "fcm")
        state.adopt(RecentVerdicts(letters, 1))
        state.shared_at_ms = 1
        assert state.is_unsure() is unsure, letters


def test_a_report_stands_while_its_reason_does() -> None:
    """Said once, and once more when it comes again."""
    state = state_after((WINDOW, SUSPECT))
    state.reported = True
    state.keep_own("s")
    assert state.reported
    state.keep_own("d" * WINDOW)
    assert not state.reported
    state.keep_own("u" * WINDOW)
    assert not state.flood_reported
    state.flood_reported = True
    state.keep_own("u")
    assert state.flood_reported
    state.adopt(RecentVerdicts("d", 1))
    assert not state.flood_reported


def test_removals_are_not_remembered_for_ever() -> None:
    """A worker that runs for months removes millions; nobody asks for those of old."""

    class Token(str):
        __slots__ = ("__weakref__",)

    state = CredentialState("fcm", "fcm")
    for _ in range(2):
        token = Token("t")
        forgotten = weakref.ref(token)
        state.note_removed({"old": token})
        del token
        state.note_removed({f"d{n}": "t" for n in range(WINDOW - 1)})
        assert forgotten() is not None
        state.note_removed({"one-more": "t"})
        assert forgotten() is None
        state.take_removed_in_flood("another service")


def test_what_other_workers_saw_counts() -> None:
    """A worker that is new here knows a storm from the others."""
    state = CredentialState("fcm", "fcm")
    state.note(DELIVERED, 0)
    letters, delivered = state.take_unshared()
    assert (letters, delivered) == ("d", 1)
    state.note(SUSPECT, 0)  # meanwhile
    state.adopt(RecentVerdicts("d" * 100 + "s" * 50, 400))
    assert state.recent() == "d" * 100 + "s" * 51
    assert state.delivered == 400
    assert state.trust() is Trust.BROKEN


def test_what_could_not_be_shared_is_kept_within_bounds() -> None:
    """In order, and not without end while the registry is away."""
    state = CredentialState("fcm", "fcm")
    for _ in range(20):
        for _ in range(WINDOW):
            state.note(DELIVERED, 0)
        state.note(SUSPECT, 0)
        letters, _ = state.take_unshared()
        state.put_back(letters)
    letters, _ = state.take_unshared()
    assert len(letters) == 5 * WINDOW
    assert letters.endswith("d" * WINDOW + "s")


FAULT = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)
BUSY = Outcome(Verdict.RETRY, "flow_control", slow_down=True)


def until_ms(state: CredentialState) -> int:
    assert state.breaker is not None
    return state.breaker.until_ms


def test_one_fault_stops_a_credential() -> None:
    """The answers of requests that were under way change nothing more."""
    state = CredentialState("fcm", "fcm")
    state.note(FAULT, 0, push_id="p1")
    first = state.breaker
    assert first is not None
    assert (first.cause, first.push_id, first.until_ms) == (Cause.FAULT, "p1", 10_000)
    assert state.is_unshared
    for outcome in (FAULT, BUSY, DELIVERED, DEAD, SUSPECT):
        state.note(outcome, 1, push_id="p2")
    assert state.breaker is first
    assert state.is_paused(10**9), "only a probe ends it"


def test_a_fault_takes_the_place_of_a_pause() -> None:
    """It is worse: time alone would not end it."""
    state = CredentialState("fcm", "fcm")
    state.note(BUSY, 0)
    state.note(FAULT, 1)
    assert state.breaker is not None
    assert (state.breaker.cause, state.breaker.opened_at_ms) == (Cause.FAULT, 1)


def test_a_throttled_credential_pauses_longer_each_time() -> None:
    """Each answer after the pause doubles it; answers inside a pause do not."""
    state = CredentialState("fcm", "fcm")
    state.note(BUSY, 0)
    state.note(BUSY, 1)
    assert until_ms(state) == 10_000
    assert state.is_paused(9_999)
    assert not state.is_paused(10_000)
    state.note(BUSY, 10_000)
    assert until_ms(state) == 30_000


def test_a_success_resets_the_pause() -> None:
    """After a success the next one pauses for the first delay again."""
    state = CredentialState("fcm", "fcm")
    state.note(BUSY, 0)
    state.note(DELIVERED, 9_999)
    assert state.breaker is not None, "that was under way when it began"
    state.note(BUSY, 10_000)
    state.note(DELIVERED, 40_000)
    assert state.breaker is None
    state.note(BUSY, 50_000)
    assert until_ms(state) == 60_000


def test_the_providers_wish_is_the_pause() -> None:
    """A quota answer pauses for exactly its Retry-After, and the longest wins."""
    state = CredentialState("fcm", "fcm")
    for wish_s, end_ms in ((37.0, 38_000), (20.0, 38_000), (40.0, 41_000)):
        quota = Outcome(Verdict.RETRY, "quota", retry_after_s=wish_s, slow_down=True)
        state.note(quota, 1000)
        assert until_ms(state) == end_ms


def test_an_absurd_wish_does_not_silence_a_credential() -> None:
    """It is asked again after half an hour, while what waits is still worth it."""
    state = CredentialState("fcm", "fcm")
    quota = Outcome(Verdict.RETRY, "quota", retry_after_s=86_400.0, slow_down=True)
    state.note(quota, 1000)
    assert until_ms(state) == 1_801_000


def test_a_fault_of_one_device_pauses_nothing() -> None:
    """Without `slow_down` the credential goes on."""
    state = CredentialState("fcm", "fcm")
    state.note(Outcome(Verdict.RETRY, "unavailable"), 0)
    state.note(Outcome(Verdict.MISCONFIGURED, "third_party_auth_error"), 0)
    assert not state.is_paused(1)
