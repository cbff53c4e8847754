"""What travels on the topics.

avro             the binary encoding of the few types we use, and the Confluent frame
registry         published schemas and their ids
settlements      the settlement event; settlement_json, movement_json: as a line of JSON
personal         personal data, which travel beside it
journal, outcomes, records   what is published of a posted entry, of a verdict; as readers get them
"""
