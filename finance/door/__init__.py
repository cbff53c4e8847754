"""The door: the one way any HTTP surface of this service is served (docs: SIGNING_PROXY.md, METRICS.md).

caller      who calls, and what a certificate says of its holder
who         certificate, token or key -> Caller, or a Problem. Pure: any other server can ask it, too
tokens      a signed token -> its claims, checked against issuer, audience, times
gate        the above with its memory (memory: rates; used_once: tokens and nonces; files: what changes on disk)
problem     requests, answers, and the one shape of a refusal
connection  one connection: bytes in and out, each within its deadline (h11 reads them)
server      the listener, its routes, its threads
tls         certificates and revocations as files
exposure    where plaintext may be; setup: a door from settings
"""
