from __future__ import annotations

from tocsin.core.masking import mask_target


def test_a_token_is_told_from_others_and_not_shown() -> None:
    """Four characters of a long one, none of a short one."""
    long = mask_target("abcdefgh" * 20)
    assert long.startswith("abcd… (160 characters, sha256 ")
    assert "abcde" not in long
    assert mask_target("short").startswith("… (5 characters, sha256 ")
    assert mask_target("short") != mask_target("shore")
    assert mask_target("") != mask_target("\udcff")
