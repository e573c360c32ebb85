"""What a worker believes of a credential."""

from __future__ import annotations

from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.delivery.credentials import ENOUGH, WINDOW, CredentialState

SUSPECT = Outcome(Verdict.SUSPECT, "sender_id_mismatch")


def make_state(good: int, suspect: int) -> CredentialState:
    state = CredentialState("fcm", "fcm")
    for _ in range(good):
        state.note(DELIVERED, 0)
    for _ in range(suspect):
        state.note(SUSPECT, 0)
    return state


def test_few_answers_remove_nothing() -> None:
    """A guarded verdict counts only once fifty answers were seen."""
    assert not make_state(ENOUGH - 2, 1).may_remove_suspects()
    assert make_state(ENOUGH - 1, 1).may_remove_suspects()


def test_thirty_percent_is_the_border() -> None:
    """At thirty percent tokens still go; above, the credential is suspected."""
    at_border = make_state(70, 30)
    assert at_border.may_remove_suspects()
    assert not at_border.is_suspicious()
    above = make_state(69, 31)
    assert not above.may_remove_suspects()
    assert above.is_suspicious()


def test_only_the_last_answers_count() -> None:
    """Old guarded verdicts fall out of the window."""
    state = make_state(0, 100)
    assert state.is_suspicious()
    for _ in range(WINDOW):
        state.note(DELIVERED, 0)
    assert not state.is_suspicious()
    assert state.may_remove_suspects()


def test_a_misconfigured_credential_pauses_longer_each_time() -> None:
    """Each fault after the pause doubles it; faults inside a pause do not."""
    state = CredentialState("fcm", "fcm")
    fault = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)
    state.note(fault, 0)
    first = state.paused_until_ms
    state.note(fault, 1)
    assert state.paused_until_ms == first == 10_000
    assert state.is_paused(first - 1)
    assert not state.is_paused(first)
    state.note(fault, first)
    assert state.paused_until_ms == first + 20_000


def test_a_success_resets_the_pause() -> None:
    """After a success the next fault pauses for the first delay again."""
    state = CredentialState("fcm", "fcm")
    fault = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)
    state.note(fault, 0)
    state.note(fault, 10_000)
    state.note(DELIVERED, 40_000)
    state.note(fault, 50_000)
    assert state.paused_until_ms == 60_000


def test_the_providers_wish_is_the_pause() -> None:
    """A quota answer pauses for exactly its Retry-After."""
    state = CredentialState("fcm", "fcm")
    quota = Outcome(Verdict.RETRY, "quota", retry_after_s=37.0, slow_down=True)
    state.note(quota, 1000)
    assert state.paused_until_ms == 38_000


def test_an_absurd_wish_does_not_silence_a_credential() -> None:
    """It is asked again after half an hour, while what waits is still worth it."""
    state = CredentialState("fcm", "fcm")
    quota = Outcome(Verdict.RETRY, "quota", retry_after_s=86_400.0, slow_down=True)
    state.note(quota, 1000)
    assert state.paused_until_ms == 1_801_000


def test_a_fault_of_one_device_pauses_nothing() -> None:
    """Without `slow_down` the credential goes on."""
    state = CredentialState("fcm", "fcm")
    state.note(Outcome(Verdict.RETRY, "unavailable"), 0)
    state.note(Outcome(Verdict.MISCONFIGURED, "third_party_auth_error"), 0)
    assert not state.is_paused(1)
