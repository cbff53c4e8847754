"""What the bytes mean. Pure: wire formats to domain types and back; topology and authority as data.

wire       Avro on the topics, JSON lines for people
topology   topology.yaml as a typed, closed world
provider_reports   what payment providers and banks report
authority  ACLs, IAM and key policies, door.yaml
avro/ json/ examples/ are the published schemas and their examples; strict_yaml reads YAML as closed-world data,
read_file the files of others.
"""
