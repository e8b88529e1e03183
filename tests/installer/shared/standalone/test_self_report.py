"""What the executables report of themselves."""

from __future__ import annotations

from installer.shared.standalone import self_report


def test_a_build_for_tests_says_what_it_is() -> None:
    mixed = self_report.Versions(("install", "1"), "3.11.17", "3.11.7", "OpenSSL 3.5.9")
    assert mixed.text() == (
        "install 1, Python 3.11.17 with the standard library of 3.11.7 (a build for tests, not for hosts), "
        "OpenSSL 3.5.9"
    )
    assert mixed.as_json()["python"] == {"interpreter": "3.11.17", "library": "3.11.7"}
