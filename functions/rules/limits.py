"""How large a rule may be, each limit with its reason."""

TEXT_BYTES_MAX = 4_096  # a thousand rules still fit the control frame
DEPTH_MAX = 16  # deeper than anybody reads, and every walk of a tree may recurse
NESTED_MAX = (
    2 * DEPTH_MAX + 1
)  # of brackets and operands in a text: a printed tree needs two a level
CONDITIONS_MAX = 64  # nodes; each costs a pass over the columns of a batch
VALUES_MAX = 256  # numbers, metrics and their arithmetic in one rule
PLAIN_MAX = 32  # conditions of a plain rule
NUMBER_MAX = 1e15  # whole numbers up to here are exact
BARS_MAX = 64  # of `3 of last 64 bars`: their answers are kept as bits of one word
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
WITHIN_MIN_NS = SECOND_NS  # less is the noise of arrival
WITHIN_MAX_NS = DAY_NS  # what is remembered of a symbol ends with its trading day
COOLDOWN_MAX_NS = 7 * DAY_NS
SYMBOLS_MAX = 1_000  # of one rule; a whole set of rules is one control frame
RULES_MAX = 1_000
NAME_MAX = 200
TIMEFRAMES = ("1m", "2m", "5m", "10m", "15m", "30m", "60m")
