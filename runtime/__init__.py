"""What carries events: a function module needs only the names exported here."""

from runtime.contract import Drop, Retry, function

__all__ = ["Drop", "Retry", "function"]
