-- The archiver stores the tiles that a range completes in the archive. It proves them first, by what stands behind the last
-- full tile of each level.

GRANT SELECT ON tile_edges TO finance_archiver;
