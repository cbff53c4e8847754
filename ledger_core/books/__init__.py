"""What is booked, before any rule of posting is applied.

money, splits    integers of minor units with a currency; cut into parts that come to the whole
accounts, chart  an account's first word says what it is; the accounts that movements of money use
lines, balance   one leg; debits equal credits (G1)
entries          the journal entry: the bytes that are chained
settlements      the settlement event: what a publisher asks for
personal         personal data, and the digest that stands for them
sales            from a shop's sale to its settlement event; movements: from all else that money does
rule_versions    what differs between versions of the posting rules
event_rules      every rule on a field, once; entry_rules: asked again of an entry
entry_checks     entries checked by the thousand (entry_pattern: the ordinary one as a regular expression)
"""
