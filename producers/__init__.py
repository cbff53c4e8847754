"""Where results leave: one adapter a file, each behind a port of `ledger_core.ports`.

kafka    publisher, topics, ACLs        signing  key services, and makers of keys
storage  the archive and the backups on S3 or in a folder
aws_clock knows what AWS answers to a wrong clock.
settlement_publisher is the library that shops import (docs/PUBLISHING.md).
"""
