"""Kafka.

publisher     records leave; one_writer: those of a chain
topics, acls  made as the topology wants them
admin         their client
"""
