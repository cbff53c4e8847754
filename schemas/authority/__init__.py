"""Who may do what, as data: kafka_acls, policies (IAM, KMS), door (door.yaml)."""
