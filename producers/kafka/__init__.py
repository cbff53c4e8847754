"""Kafka: publisher (records leave), topics and acls (made as the topology wants them), admin (their client)."""
