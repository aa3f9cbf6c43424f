"""What a vendor's words may do: neither send keys elsewhere nor make series without end."""

from __future__ import annotations

from collections import Counter

import pytest

from runtime import telemetry
from runtime.providers import ProviderError, open_provider
from runtime.providers.live import UNKNOWN_MAX, tell_refusals
from runtime.providers.messages import Parsed


def test_keys_go_to_no_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_KEY_ID", "id")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "secret")
    with pytest.raises(ProviderError, match=r"rest.*expected http:// or https://"):
        open_provider("alpaca://sip?symbols=A&rest=ftp://elsewhere")


def test_names_that_a_vendor_made_up_are_counted_one_by_one_up_to_a_bound() -> None:
    for number in range(UNKNOWN_MAX + 7):
        tell_refusals("inventive", Parsed(unknown=Counter({f"field_{number}": 2})))
    tell_refusals("inventive", Parsed(unknown=Counter({"field_3": 1})))
    found = {
        sample.labels["what"]: sample.value
        for metric in telemetry.FEED_UNKNOWN.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["source"] == "inventive"
    }
    assert len(found) == UNKNOWN_MAX + 1
    assert found["other"] == 14
    assert found["field_3"] == 3
