-- Personal data that came inside their events, and stood by shard and seq, stand by event id and digest like all others.
INSERT INTO personal_data (event_id, digest, pii, salt, kept, source_partition, source_offset)
SELECT e.event_id, sha256(p.pii || p.salt), p.pii, p.salt, true, e.shard, e.source_offset
  FROM pii p JOIN entries e USING (shard, seq);
DROP TABLE pii;
