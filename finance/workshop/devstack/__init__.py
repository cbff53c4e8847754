"""The development stack: real servers as child processes, from ordinary packages, on loopback only.

`Stack.up("dev")` gives every setting that Finance needs in `stack.env`. Not for production.
stack                    start, restart, stop; state: what it remembers on disk
server, processes, ports what every server has in common
postgres (postgres_tls), kafka (kafka_jars), s3, kms     one server a file; jars: from Maven, each as locked
authority                certificates of a secure stack
environment, signers     what a stack gives to Finance: variables, signers.json
"""

from finance.workshop.devstack.stack import SERVICES, ServiceStatus, Stack, names

__all__ = ["SERVICES", "ServiceStatus", "Stack", "names"]
