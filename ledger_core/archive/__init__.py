"""From a proved range to a locked object.

range_batch      journal entries in, a sealed batch out
batch            the audit batch: gzipped JSON lines of one range; lines: out of the gzip again
pinned_object    a locked object as the database pins it: version, digest, lock
archived_object  objects that wait for their manifest
manifest         the signed statement that lists an object
names            how objects are called, and what a name says; bundle_names: in an auditor's bundle
listing          what lies in an archive, by shard; archived_trees: any tile of its trees
"""
