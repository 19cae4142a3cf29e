"""SMTP as a client speaks it (RFC 5321), for every provider that is reached that way.

server      where it is and how to log in
wire        a connection after login: lines out, replies in
opening     from a name to a wire: connect, TLS, greeting, log in
pool        wires kept for the next transaction
envelope    what one transaction carries, and the commands that carry it
carrying    transactions on one wire, pipelined where the server offers it
replies     what a reply means, as an outcome
dialogue    a batch becomes outcomes

Connecting, TLS and login are aiosmtplib's. It has no pipelining (a second reply in the same packet is lost), so after
the login its transport is handed to :class:`wire.Wire`, which has.
"""
