"""The wiring: the one place that names concrete adapters.

services         every process (personal: the keeper; reading: the projector)
signers          keys that sign; mac_keys: beside a MAC; kms_place
kafka            every Kafka client                       oracle    the oracle asked about database and topics
stores           what commands write to and read from     topics    made and compared
archive_source, audit_chain, audit_exports                where archives and the chain are read; the exporter
registry_file    signers.json                             status    where everything stands
projections      its rebuild                              projection_compared: it beside the ledger
source_check     the settlements topic beside the archive   render    authority for those who enforce it
"""
