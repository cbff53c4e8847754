"""The development stack: real servers as child processes, from ordinary packages, on loopback only.

`Stack.up("dev")` gives Postgres, Kafka, an S3 with Object Lock and the AWS KMS API, with every setting Finance needs in
`stack.env`. It is for development, tests and the demo; nothing here is a way to run production servers.
"""

from finance.workshop.devstack.stack import SERVICES, ServiceStatus, Stack, names

__all__ = ["SERVICES", "ServiceStatus", "Stack", "names"]
