"""The door: the one way any HTTP surface of this service is served.

Guarantees: who is not known by a client certificate, a short-lived token or an API key gets nothing but a refusal, and
nobody gets what its roles do not name; every bound is named in door.yaml; certificates, revocations, callers and token
keys are read again when their files change; every refusal has one JSON shape, a metric and a log line.

    caller.py      who calls, and what a certificate says of its holder
    who.py         certificate, token or key -> Caller, or a Problem. Pure: any other server can ask it, too
    tokens.py      a signed token -> its claims, checked against issuer, audience, times
    gate.py        the above with its memory: rates, tokens that were used, files that change
    connection.py  one connection: bytes in and out, each within its deadline (h11 reads them)
    server.py      the listener, its routes, its threads
    tls.py         certificates and revocations as files
    exposure.py    where plaintext may be; setup.py: a door from settings

Does not: know what its routes do, terminate TLS for others, or trust headers of a proxy in front.
"""
