"""Vendors' servers on loopback that misbehave as a script says, to see what a feed makes of it.

tape.py      the market that is sent: numbered prints of a few symbols
faults.py    what goes wrong, and at which print
dialects.py  how Alpaca, Massive, Binance and Coinbase say it, live and when asked again over REST
databento.py how Databento says it, live and when a session starts in the past
wires.py     connections: websockets, or lines and bytes over TCP
server.py    the server: sessions, faults, and what each client was sent
"""
