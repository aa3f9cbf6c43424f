"""Notify: deliveries of the outbox, each to one channel: webhook, mail, Discord or Telegram.

Where a channel leads to, and its secrets, stand in the bucket `channels` under `<user>.<channel>`;
messages, receipts and dead letters hold its name only.

    {"kind": "webhook", "url": "https://example.com/alerts", "secret": "..."}
    {"kind": "email", "to": "me@example.com"}
    {"kind": "discord", "url": "https://discord.com/api/webhooks/..."}
    {"kind": "telegram", "token": "...", "chat_id": "42"}
"""

import json

from runtime import Drop, Retry, function

KINDS = {
    "webhook": {"url", "secret"},
    "email": {"to"},
    "discord": {"url"},
    "telegram": {"token", "chat_id"},
}
OPTIONAL = {"secret", "api"}
TELEGRAM = "https://api.telegram.org"
DISCORD_LETTERS_MAX, TELEGRAM_LETTERS_MAX = 2000, 4096  # their limits of a message
SHOWN = 20  # alerts of a digest
OUTCOMES = {"ok": "delivered", "later": "later", "never": "failed"}


def channel_of(text):
    """A channel as it is kept; raises Drop without showing what it holds."""
    try:
        channel = json.loads(text)
        fields = KINDS[channel["kind"]]
        given = {field for field, value in channel.items() if value and isinstance(value, str)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Drop(f"channel: expected an object with a kind of {', '.join(KINDS)}") from error
    if not fields - OPTIONAL <= given:
        raise Drop(f"channel: a {channel['kind']} wants texts for {', '.join(sorted(fields))}")
    return channel


def request_of(channel, identity, kind, body):
    """What has to be sent so that a channel is told of a delivery: a mail, or a POST with its secret."""
    if channel["kind"] == "webhook":
        headers = {"Idempotency-Key": identity, "X-Jetscan-Kind": kind}
        secret = channel.get("secret", "")
        return {"url": channel["url"], "body": body, "headers": headers, "secret": secret}
    told = json.loads(body)
    if channel["kind"] == "email":
        return {"to": channel["to"], "subject": told["message"], "text": text_of(told)}
    if channel["kind"] == "discord":
        text = text_of(told)[:DISCORD_LETTERS_MAX]
        message = {"content": text, "allowed_mentions": {"parse": []}}
        return {"url": channel["url"], "body": json.dumps(message)}
    message = {"chat_id": channel["chat_id"], "text": text_of(told)[:TELEGRAM_LETTERS_MAX]}
    url = f"{channel.get('api', TELEGRAM)}/bot{channel['token']}/sendMessage"
    return {"url": url, "body": json.dumps(message)}


def asked_request(asked):
    """What a delivery would send, as JSON, for whoever tests a channel; raises ValueError.

    asked   JSON: channel, and of a delivery id, kind and body
    """
    told = json.loads(asked)
    try:
        channel = channel_of(json.dumps(told["channel"]))
    except Drop as fault:
        raise ValueError(fault.reason) from fault
    return json.dumps(request_of(channel, told["id"], told["kind"], told["body"]))


def text_of(told):
    """An alert, what becomes of it, or a digest for people to read."""
    if told["kind"] == "test":
        return told["message"]
    if told["kind"] != "digest":
        return f"{told['message']}\n{told['price']:g} at {told['timestamp'][:19]}Z"
    lines = [told["message"]]
    lines += [f"{one['symbol']} {one['price']:g} {one['rule_name']}" for one in told["top"][:SHOWN]]
    lines.append(f"All of them: alerts {told['seq_from']} to {told['seq_to']}")
    return "\n".join(lines)


def receipt(outbox, place, outcome, answer, attempt):
    """What became of one try."""
    return {
        "ts_ns": [answer.at_ns],
        "user": [outbox["user"][place]],
        "channel": [outbox["channel"][place]],
        "id": [outbox["id"][place]],
        "alert": [alert_of(outbox, place)],
        "outcome": [outcome],
        "status": [answer.status],
        "tries": [attempt.number],
        "reason": [answer.reason],
    }


def alert_of(outbox, place):
    """The id of the alert or digest that a delivery tells; the delivery's where its body tells none."""
    try:
        return str(json.loads(outbox["body"][place])["id"])
    except (ValueError, KeyError, TypeError):
        return outbox["id"][place]


# give_up_s: a delivery that could not be made for this long is a dead letter
@function(
    reads="alerts.outbox",
    writes="alerts.receipts",
    settings={"give_up_s": 21_600},
    at_once=64,
    accepts={"ask.channel": asked_request},
)
async def notify(outbox, settings, channels, outbound, attempt):
    for place in range(len(outbox)):  # one: the outbox has a message for each channel
        user, name = outbox["user"][place], outbox["channel"][place]
        entry = await channels.get(f"{user}.{name}")
        if entry is None:
            raise Drop(f"user {user} has no channel {name}; set it and redrive")
        channel = channel_of(entry.value)
        identity, kind, body = (outbox[column][place] for column in ("id", "kind", "body"))
        request = request_of(channel, identity, kind, body)
        answer = await outbound.send(f"{user}.{name}", request, identity)
        wait_s = answer.wait_s + outbound.pause_s(1 if answer.wait_s else attempt.number)
        if answer.outcome == "busy":
            raise Retry(f"{user}.{name}: {answer.reason}", wait_s)
        is_over = answer.outcome == "later" and attempt.age_s >= settings["give_up_s"]
        outcome = "failed" if is_over else OUTCOMES[answer.outcome]
        said = {"alerts.receipts": receipt(outbox, place, outcome, answer, attempt)}
        reason = f"{user}.{name} try {attempt.number}: {answer.reason}"
        if outcome == "failed":
            raise Drop(reason, said=said)
        if outcome == "later":
            raise Retry(reason, wait_s, said=said)
        return said
    return None
