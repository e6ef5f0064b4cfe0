import pytest

from pipeline.text.redact import redacted


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("mail jane.doe+x@mail.example.org.", "mail email@example.com.", 1),
        ("a@b.co, c@d.ef", "email@example.com, email@example.com", 2),
        ("@home, user@localhost, a @ b.co", "@home, user@localhost, a @ b.co", 0),
        ("8.8.8.8 and 1.1.1.1:53", "192.0.2.1 and 192.0.2.1:53", 2),
        ("10.1.2.3, 127.0.0.1, 256.1.1.1, 192.168.0.1", "10.1.2.3, 127.0.0.1, 256.1.1.1, 192.168.0.1", 0),
        ("version 1.2.3.4.5", "version 1.2.3.4.5", 0),
        ("8.8.8.8.", "192.0.2.1.", 1),
        ("", "", 0),
    ],
)
def test_addresses_that_belong_to_somebody_are_replaced(text, expected, count):
    assert redacted(text, ("email", "ip")) == (expected, count)


def test_only_what_is_asked_for_is_replaced():
    text = "a@b.co 8.8.8.8"
    assert redacted(text, ()) == (text, 0)
    assert redacted(text, ("email",)) == ("email@example.com 8.8.8.8", 1)
    assert redacted(text, ("ip",)) == ("a@b.co 192.0.2.1", 1)


@pytest.mark.parametrize("text", ["a" * 300_000, "a." * 150_000, "a!" * 150_000 + "@", "1." * 150_000, "a@" * 150_000])
def test_hostile_text_costs_no_more_than_its_length(text):
    redacted(text, ("email", "ip"))
