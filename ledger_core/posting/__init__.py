"""From a settlement event to its verdict and its place in the chain.

plans        the values of posting: draft, known, posted, verdict, plan
rules        one event -> draft of its entry, or the reason of its rejection
activation   the control record: from where on other rules judge
sequencing   a batch -> verdicts, sequence numbers, the shard's new head
entry_bytes  the canonical bytes, written straight from the draft
verdicts     the verdict line: what is proved of an offset that posted nothing
newest_record  what the topic must still have: the newest record that was read
store_port   what the poster asks of its store
"""
