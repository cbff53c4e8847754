-- `finance status` asks whether the keeper has read every erasure of the chain. Its operators may read the chain itself.
GRANT EXECUTE ON FUNCTION chained_erasures(bigint, integer) TO finance_api;
