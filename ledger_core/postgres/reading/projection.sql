-- The tables of a projection, version 1. They are made in a schema of their own and never altered: another version of
-- them is another projection, built anew (docs/decisions/120). That schema is first in the search_path here.

CREATE TABLE shards (                       -- how far each shard was read; one row is one owner's compare-and-swap
    shard       integer PRIMARY KEY,
    seq         bigint  NOT NULL DEFAULT 0, -- newest entry
    head        bytea,                      -- its link of the chain; NULL at genesis
    known_us    bigint  NOT NULL DEFAULT 0, -- no entry to come is known before; microseconds since 1970
    next_offset bigint  NOT NULL DEFAULT 0, -- of the journal topic
    series      integer NOT NULL DEFAULT 0  -- how many there are
);

CREATE TABLE series (                       -- the lines of one shard, account and currency, numbered by the chain
    shard       integer NOT NULL,
    series_no   integer NOT NULL,           -- in order of first use
    first_chunk integer NOT NULL,           -- that it has a line in
    last_chunk  integer NOT NULL,
    account     text    NOT NULL,
    currency    char(3) NOT NULL,
    PRIMARY KEY (shard, series_no)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX series_account ON series (account COLLATE "C", currency, shard);

CREATE TABLE chunks (                       -- which partitions the entries of a chunk are in (ledger_core.reading.chunks)
    shard       smallint NOT NULL,
    chunk       integer  NOT NULL,
    known_month smallint NOT NULL,
    slot        integer  NOT NULL,          -- shard and chunk in one: the first half of the keys of names in it
    PRIMARY KEY (shard, chunk, known_month)
);

CREATE TABLE entries (
    seq            bigint      NOT NULL,
    source_offset  bigint      NOT NULL,
    occurred_at    timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL,
    known_at       timestamptz NOT NULL,
    event_key      bigint      NOT NULL,    -- where it is found by name: slot and digest
    settlement_key bigint      NOT NULL,
    order_key      bigint      NOT NULL,
    reference_key  bigint,
    effective_day  date        NOT NULL,    -- of occurred_at, UTC
    shard          smallint    NOT NULL,
    known_month    smallint    NOT NULL,    -- months since the year 0; a partition each
    event_id       uuid        NOT NULL,
    reverses       uuid,
    entry_hash     bytea       NOT NULL,
    event_type     text        NOT NULL,
    settlement_id  text        NOT NULL,
    order_id       text        NOT NULL,
    provider       text,
    reference      text,
    series_nos     integer[]   NOT NULL,    -- of its lines, in their order
    amounts_minor  bigint[]    NOT NULL,    -- a debit positive, a credit negative
    PRIMARY KEY (shard, seq, known_month)
) PARTITION BY LIST (known_month);
CREATE INDEX entries_event ON entries (event_key);
CREATE INDEX entries_settlement ON entries (settlement_key, seq);  -- in the order of its pages
CREATE INDEX entries_order ON entries (order_key, seq);
CREATE INDEX entries_reference ON entries (reference_key, seq) WHERE reference_key IS NOT NULL;

CREATE TABLE lines (
    seq           bigint   NOT NULL,
    position      bigint   NOT NULL,        -- place in its series, from 1
    amount_minor  bigint   NOT NULL,        -- a debit positive, a credit negative
    slot          integer  NOT NULL,        -- shard and chunk
    series_no     integer  NOT NULL,
    effective_day date     NOT NULL,
    line_no       smallint NOT NULL,        -- place in its entry, from 1
    known_month   smallint NOT NULL,
    PRIMARY KEY (slot, series_no, seq, line_no, known_month)
) PARTITION BY LIST (known_month);

CREATE TABLE ends (                         -- the last line of each full block of a series
    shard     integer  NOT NULL,
    series_no integer  NOT NULL,
    seq       bigint   NOT NULL,
    line_no   smallint NOT NULL,
    block_no  bigint   NOT NULL,            -- of level 0, from 0
    PRIMARY KEY (shard, series_no, seq, line_no)
);

CREATE TABLE blocks (                       -- full blocks of lines (ledger_core.reading.blocks): never updated
    shard     integer  NOT NULL,
    series_no integer  NOT NULL,
    level     smallint NOT NULL,
    block_no  bigint   NOT NULL,
    day       date     NOT NULL,            -- sums of the block up to and with this effective day
    debits    numeric(38, 0) NOT NULL,
    credits   numeric(38, 0) NOT NULL,
    PRIMARY KEY (shard, series_no, level, block_no, day)
);

CREATE TABLE totals (                       -- the same of blocks of entries, by type of account and currency
    shard    integer  NOT NULL,
    level    smallint NOT NULL,
    block_no bigint   NOT NULL,
    type     text     NOT NULL,
    currency char(3)  NOT NULL,
    day      date     NOT NULL,
    debits   numeric(38, 0) NOT NULL,
    credits  numeric(38, 0) NOT NULL,
    PRIMARY KEY (shard, level, block_no, type, currency, day)
);

CREATE TABLE moments (                      -- since when the last entry of each full block of entries is known
    shard    integer NOT NULL,
    known_us bigint  NOT NULL,
    seq      bigint  NOT NULL,
    PRIMARY KEY (shard, known_us, seq)
);

CREATE TABLE closings (                     -- ranges of each shard that were closed, as the audit topic announced them
    shard      integer NOT NULL,
    range_no   bigint  NOT NULL,            -- that of its manifest too
    first_seq  bigint  NOT NULL,
    last_seq   bigint  NOT NULL,            -- first_seq - 1 when it has no entry
    proof_hash bytea   NOT NULL,
    PRIMARY KEY (shard, range_no)
);
CREATE INDEX closings_last ON closings (shard, last_seq);

CREATE TABLE proofs (                       -- that were signed
    proof_hash bytea PRIMARY KEY,
    proof_id   text  NOT NULL
);

CREATE TABLE objects (                      -- of ranges, under lock
    shard      integer NOT NULL,
    range_no   bigint  NOT NULL,
    object_key text    NOT NULL,
    version_id text    NOT NULL,
    PRIMARY KEY (shard, range_no)
);

CREATE TABLE announced (                    -- how far the audit topic was read
    partition   integer PRIMARY KEY,
    next_offset bigint  NOT NULL
);

CREATE TABLE outcomes (                     -- how far each shard's outcomes were read
    shard         integer PRIMARY KEY,
    decided       bigint,                   -- settlements offset behind the newest; NULL before the first
    complete_from bigint,                   -- settlements offset from which on none is missing
    next_offset   bigint  NOT NULL DEFAULT 0
);

CREATE TABLE verdicts (                     -- what became of records that posted nothing
    shard         integer NOT NULL,
    source_offset bigint  NOT NULL,         -- of the settlements topic
    event_id      uuid,
    settlement_id text,
    verdict       text    NOT NULL,
    reason        text    NOT NULL,
    PRIMARY KEY (shard, source_offset)
);
CREATE INDEX verdicts_event ON verdicts (event_id, shard, source_offset) WHERE event_id IS NOT NULL;
CREATE INDEX verdicts_settlement ON verdicts (settlement_id COLLATE "C", shard, source_offset)
 WHERE settlement_id IS NOT NULL;
